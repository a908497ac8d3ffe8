//! Files with mistakes, each as it would lie on the card: every one is named with line and key, and the box comes up.

use rackberry::{
    card::{OWN, PRESEED, look},
    config::Config,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

struct Case {
    name: String,
    /// Its name on the card.
    file: String,
    line: usize,
    key: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/card")
}

fn cases() -> Vec<Case> {
    let table = fs::read_to_string(folder().join("expected.tsv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.map(|row| Case {
        name: row[0].to_owned(),
        file: row[1].to_owned(),
        line: row[2].parse().unwrap(),
        key: row[3].to_owned(),
    })
    .collect()
}

#[test]
fn every_mistake_is_named_with_file_line_and_key_and_the_box_comes_up() {
    let cases = cases();
    assert!(cases.len() >= 200, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let card = tempfile::tempdir().unwrap();
        let text = fs::read(folder().join(format!("bad/{}.toml", case.name))).unwrap();
        fs::write(card.path().join(&case.file), &text).unwrap();
        let look = look(card.path());
        let told = look.mistakes.iter().any(|remark| {
            remark.file == case.file && remark.problem.line == case.line && remark.problem.key == case.key
        });
        if !told {
            let found: Vec<String> = look.mistakes.iter().map(ToString::to_string).collect();
            wrong.push(format!("{}: {} line {} {}: {found:#?}", case.name, case.file, case.line, case.key));
        }
        // What has the mistake stands at its default.
        if case.file == OWN && case.key.starts_with("dhcp.") {
            assert_eq!(look.config, Config::default(), "{}", case.name);
        }
        assert!(look.mistakes.iter().all(|remark| !remark.problem.what.is_empty()), "{}", case.name);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_and_its_table_name_the_same_cases() {
    let mut files: Vec<String> = fs::read_dir(folder().join("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut named: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    files.sort();
    named.sort();
    assert_eq!(files, named);
}

#[test]
fn what_is_no_text_is_told_as_well() {
    for (file, bytes) in [
        (OWN, b"[box]\nhostname = \"b\xe4rry\"\n".to_vec()),
        (PRESEED, b"config_version = \"1.0\"\n\xff\xfe".to_vec()),
        (OWN, vec![b'#'; 300 * 1024]),
    ] {
        let card = tempfile::tempdir().unwrap();
        fs::write(card.path().join(file), bytes).unwrap();
        let look = look(card.path());
        let [only] = look.mistakes.as_slice() else { panic!("{:?}", look.mistakes) };
        assert!(only.file == file && only.problem.line >= 1);
        assert_eq!(look.config, Config::default());
    }
}
