//! One image: which trees it has, and which is to be used.

use crate::{
    BootImage, Error, ReadAt, Tree, TreeKind, boot,
    directory::Root,
    source::Medium,
    tree::Files,
    udf,
    volume::{self, VolumeInfo},
};

/// An optical disc image that is read in place.
///
/// It keeps no state of what was read before, so any number of threads can share it.
pub struct Image<R> {
    source: R,
    size: u64,
    info: Option<VolumeInfo>,
    rock_ridge: Option<Root>,
    joliet: Option<Root>,
    joliet_label: String,
    plain: Option<Root>,
    udf: Option<udf::Volume>,
    /// UDF is announced, but not readable.
    udf_error: Option<Error>,
    boot_catalogue: Option<u32>,
}

impl<R: ReadAt> Image<R> {
    /// Reads what the image says of itself.
    ///
    /// # Errors
    /// When it has no volume, or a broken one. A UDF volume that cannot be read fails only [`Image::tree`] when that tree is
    /// asked for, or would be chosen.
    pub fn open(source: R) -> Result<Self, Error> {
        let size = source.size().map_err(|source| Error::Io { what: "the size", offset: 0, source })?;
        let medium = Medium::new(&source, size);
        let found = volume::descriptors(medium)?;
        let (udf, udf_error) = match found.udf.then(|| udf::Volume::open(medium)) {
            None => (None, None),
            Some(Ok(volume)) => (Some(volume), None),
            Some(Err(error)) => (None, Some(error)),
        };
        if found.plain.is_none() && !found.udf {
            return Err(Error::NotAnImage);
        }
        let rock_ridge = match &found.plain {
            Some(root) => root.rock_ridge(medium)?,
            None => None,
        };
        Ok(Self {
            size,
            info: found.info,
            rock_ridge,
            joliet: found.joliet,
            joliet_label: found.joliet_label,
            plain: found.plain,
            udf,
            udf_error,
            boot_catalogue: found.boot_catalogue,
            source,
        })
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Bytes of the image.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What ISO 9660's primary volume descriptor says; a pure UDF disc has none.
    #[must_use]
    pub fn info(&self) -> Option<&VolumeInfo> {
        self.info.as_ref()
    }

    /// The trees that can be read, the preferred one first.
    #[must_use]
    pub fn trees(&self) -> Vec<TreeKind> {
        TreeKind::ALL.into_iter().filter(|kind| self.files(*kind).is_some()).collect()
    }

    /// The tree with the most faithful names: Rock Ridge, else UDF, else Joliet, else plain ISO 9660.
    ///
    /// # Errors
    /// Why UDF cannot be read, if it would be the choice: what such a disc shows as ISO 9660 is often only a note that says so.
    pub fn best_tree(&self) -> Result<Tree<'_>, Error> {
        for kind in TreeKind::ALL {
            match self.tree(kind) {
                Err(Error::NoTree(_)) => {}
                found => return found,
            }
        }
        Err(Error::NotAnImage)
    }

    /// One of the trees.
    ///
    /// # Errors
    /// When the image does not have it, or its root cannot be read.
    pub fn tree(&self, kind: TreeKind) -> Result<Tree<'_>, Error> {
        let medium = Medium::new(&self.source, self.size);
        match (self.files(kind), kind, &self.udf_error) {
            (Some(files), ..) => Tree::open(medium, kind, files, self.label(kind)),
            // Read once more for an error of its own.
            (None, TreeKind::Udf, Some(_)) => match udf::Volume::open(medium) {
                Err(error) => Err(error),
                Ok(_) => Err(Error::NoTree(kind)),
            },
            (None, ..) => Err(Error::NoTree(kind)),
        }
    }

    /// What a tree calls the disc: untrusted text, less the blanks that fill it.
    #[must_use]
    pub fn label(&self, kind: TreeKind) -> &str {
        match kind {
            TreeKind::RockRidge | TreeKind::Plain => self.info.as_ref().map_or("", |info| &info.volume_id),
            TreeKind::Joliet => &self.joliet_label,
            TreeKind::Udf => self.udf.as_ref().map_or("", |volume| &volume.label),
        }
    }

    /// The revision of UDF, as 0x0102 for 1.02.
    #[must_use]
    pub fn udf_revision(&self) -> Option<u16> {
        self.udf.as_ref().map(|volume| volume.revision)
    }

    /// What firmware can start, as El Torito's catalogue lists it; nothing if there is none.
    ///
    /// # Errors
    /// When the catalogue is broken, or an image of it does not lie within the disc.
    pub fn boot_images(&self) -> Result<Vec<BootImage>, Error> {
        match self.boot_catalogue {
            Some(sector) => boot::catalogue(Medium::new(&self.source, self.size), sector),
            None => Ok(Vec::new()),
        }
    }

    fn files(&self, kind: TreeKind) -> Option<Files<'_>> {
        match kind {
            TreeKind::RockRidge => self.rock_ridge.map(Files::Iso),
            TreeKind::Joliet => self.joliet.map(Files::Iso),
            TreeKind::Plain => self.plain.map(Files::Iso),
            TreeKind::Udf => self.udf.as_ref().map(Files::Udf),
        }
    }
}
