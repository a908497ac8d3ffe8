//! Profiles: folders with `profile.toml` and `*.tmpl`, from the package's catalogue and, overriding it by name, from
//! `<state>/catalog`. What profiles share lies in a folder of templates beside them, `shared`.

use rackberry_core::profile::Profile;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// All profiles of this box, read at start; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    profiles: Arc<BTreeMap<String, Arc<Profile>>>,
    folders: Arc<BTreeMap<String, PathBuf>>,
    problems: Arc<Vec<String>>,
}

/// The folder of templates that profiles include.
const SHARED: &str = "shared";
/// No template or profile is longer; a larger file is a mistake.
const LARGEST: u64 = 1 << 20;

impl Catalog {
    /// Reads the folders in order; a later one overrides an earlier one's profiles by name. A profile with a mistake is
    /// left out and named in [`Catalog::problems`]; it never hides the others.
    #[must_use]
    pub fn load(folders: &[&Path]) -> Self {
        let mut profiles = BTreeMap::new();
        let mut places = BTreeMap::new();
        let mut problems = Vec::new();
        let mut shared = BTreeMap::new();
        for folder in folders {
            match templates(&folder.join(SHARED)) {
                Ok(found) => shared.extend(found.into_iter().map(|(name, text)| (format!("{SHARED}/{name}"), text))),
                Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err((path, error)) => problems.push(format!("cannot read {}: {error}", path.display())),
            }
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                if !path.join("profile.toml").is_file() {
                    continue;
                }
                match read(&path, name, &shared) {
                    Ok(profile) => {
                        places.insert(name.to_owned(), path.clone());
                        profiles.insert(name.to_owned(), Arc::new(profile));
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Catalog { profiles: Arc::new(profiles), folders: Arc::new(places), problems: Arc::new(problems) }
    }

    /// The profile of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }

    /// Where a profile's files lie, keys of its media among them.
    #[must_use]
    pub fn folder(&self, name: &str) -> Option<&Path> {
        self.folders.get(name).map(PathBuf::as_path)
    }

    /// All profiles by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }

    /// What is wrong with the profiles that were left out.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

fn read(folder: &Path, name: &str, shared: &BTreeMap<String, String>) -> Result<Profile, String> {
    let wrap = |path: &Path, error: io::Error| format!("profile \"{name}\": cannot read {}: {error}", path.display());
    let toml_path = folder.join("profile.toml");
    let toml = read_text(&toml_path).map_err(|error| wrap(&toml_path, error))?;
    let mut known = templates(folder).map_err(|(path, error)| wrap(&path, error))?;
    known.extend(shared.iter().map(|(name, text)| (name.clone(), text.clone())));
    Profile::parse(name, &toml, &known).map_err(|error| crate::chain(&error))
}

/// A folder's `*.tmpl` files by file name; an error names the path.
fn templates(folder: &Path) -> Result<BTreeMap<String, String>, (PathBuf, io::Error)> {
    let mut templates = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| (folder.to_owned(), error))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "tmpl")
            && let Some(file) = path.file_name().and_then(|file| file.to_str())
        {
            let text = read_text(&path).map_err(|error| (path.clone(), error))?;
            templates.insert(file.to_owned(), text);
        }
    }
    Ok(templates)
}

fn read_text(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "title = \"T\"\nimage = \"i\"\narch = \"x86_64\"\n";

    fn put(root: &Path, name: &str, toml: &str) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("profile.toml"), toml).unwrap();
    }

    #[test]
    fn a_persons_profile_overrides_and_a_broken_one_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (shipped, own) = (folder.path().join("shipped"), folder.path().join("own"));
        put(&shipped, "debian", TOML);
        put(&shipped, "broken", "title = 1\n");
        put(&own, "debian", &TOML.replace("\"T\"", "\"Mine\""));
        let catalog = Catalog::load(&[&shipped, &own, &folder.path().join("none")]);
        assert_eq!(catalog.get("debian").unwrap().title, "Mine");
        assert_eq!(catalog.iter().count(), 1);
        assert!(catalog.problems().first().unwrap().contains("broken"), "{:?}", catalog.problems());
    }

    #[test]
    fn every_profile_of_the_project_is_read_without_a_problem() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/catalog");
        let catalog = Catalog::load(&[&folder]);
        assert_eq!(catalog.problems(), &[] as &[String]);
        assert!(catalog.iter().count() > 0);
    }
}
