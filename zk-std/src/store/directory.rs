//! The seam between the store and a file system: directories and files, synchronous.
//!
//! [`OsDirectory`] is the real one. [`simulated`](super::simulated) has one that tears, forgets
//! and fails, so that tests and simulations run the store's own code.

use core::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Context, Error};

/// A directory of files, and a way to further directories.
///
/// Names are single path components. What is written is durable only after
/// [`File::sync_data`]; a name that was created, renamed or unlinked only after
/// [`Directory::sync`].
pub trait Directory: Clone + Debug {
    /// An open file.
    type File: File + Debug;

    /// Where a file of this name is, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// The directory `name` inside this one, whether it exists or not.
    fn join(&self, name: &str) -> Self;

    /// Whether the directory exists.
    ///
    /// # Errors
    /// When the file system cannot say.
    fn exists(&self) -> io::Result<bool>;

    /// Creates the directory and those above it, durably.
    ///
    /// # Errors
    /// Those of the file system.
    fn make(&self) -> io::Result<()>;

    /// Opens a file for reading and writing, or for reading only where writing is not allowed.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], and others of the file system.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates a file, or empties the one that is there.
    ///
    /// # Errors
    /// Those of the file system.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// The names of the files in the directory, in any order.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name; a file of that name is replaced.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], and others of the file system.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the directory durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that can still be written on its file system, where that can be known.
    ///
    /// # Errors
    /// Those of the file system.
    fn space(&self) -> io::Result<Option<u64>>;
}

/// An open file, read and written at given offsets.
pub trait File {
    /// Reads up to `buf.len()` bytes at `offset`; 0 means the end of the file. May read less.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], and others of the file system.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The length, bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// Those of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or extends it with zeros that take no space yet.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Extends the file with zeros up to `len` bytes that do take space.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], and others of the file system.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the content and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// Those of the file system. What was written since the last sync may then be lost, and no
    /// later sync tells.
    fn sync_data(&self) -> io::Result<()>;
}

/// Reads until `buf` is full or the file ends, and returns how much.
pub(super) fn read_full<F: File>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match file.read_at(&mut buf[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_small<D: Directory>(
    directory: &D,
    name: &str,
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    let file = match directory.open(name) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if file.len()? > limit as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; limit];
    let n = read_full(&file, &mut bytes, 0)?;
    bytes.truncate(n);
    Ok(Some(bytes))
}

/// Replaces a small file so that after a crash it is the old or the new one, whole:
/// `<name>.tmp` is written, synced and renamed, and the directory synced.
///
/// Answers to `org.apache.zookeeper.common.AtomicFileOutputStream`, which leaves out the last.
pub(crate) fn replace<D: Directory>(directory: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    put(directory, &temporary, bytes)?;
    directory.rename(&temporary, name)?;
    if zk_core::planted!(NoDirectorySync) {
        return Ok(());
    }
    directory.sync()
}

/// Writes a small file and makes its content durable, but not its name.
pub(super) fn put<D: Directory>(directory: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = directory.create(name)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

/// Removes a file, durably.
pub(super) fn remove_durably<D: Directory>(directory: &D, name: &str) -> Result<(), Error> {
    directory
        .unlink(name)
        .and_then(|()| directory.sync())
        .context("remove", || directory.path(name))
}

/// Removes a file if it is there, and says whether it was.
pub(crate) fn remove<D: Directory>(directory: &D, name: &str) -> io::Result<bool> {
    match directory.unlink(name) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct OsDirectory {
    path: Arc<Path>,
}

impl OsDirectory {
    /// The directory at `path`, which need not exist yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into() }
    }
}

impl Directory for OsDirectory {
    type File = fs::File;

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn join(&self, name: &str) -> Self {
        Self::new(self.path.join(name))
    }

    fn exists(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(meta) if meta.is_dir() => Ok(true),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn make(&self) -> io::Result<()> {
        // Each new directory is a name in the one above it.
        let missing: Vec<&Path> = self.path.ancestors().take_while(|p| !p.exists()).collect();
        fs::create_dir_all(&self.path)?;
        for made in missing {
            match made.parent() {
                Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new("."))?,
                Some(parent) => sync_directory(parent)?,
                None => {}
            }
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<fs::File> {
        let path = self.path.join(name);
        match fs::OpenOptions::new().read(true).write(true).open(&path) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                fs::File::open(&path)
            }
            opened => opened,
        }
    }

    fn create(&self, name: &str) -> io::Result<fs::File> {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // Names that are not UTF-8 are not ZooKeeper's.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }

    #[cfg(unix)]
    fn space(&self) -> io::Result<Option<u64>> {
        let fs = rustix::fs::statvfs(&*self.path)?;
        Ok(Some(fs.f_bavail.saturating_mul(fs.f_frsize)))
    }

    #[cfg(not(unix))]
    fn space(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Other systems have no such call; their names are as durable as they make them.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

impl File for fs::File {
    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buf, offset)
    }

    #[cfg(unix)]
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(windows)]
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(self, bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => (bytes, offset) = (&bytes[n..], offset + n as u64),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            // Not every file system can; zeros can be written on all of them.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
        const PIECE: usize = 64 * 1024;
        let mut at = File::len(self)?;
        while at < len {
            let n = PIECE.min(usize::try_from(len - at).unwrap_or(PIECE));
            self.write_all_at(&[0; PIECE][..n], at)?;
            at += n as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_system() {
        let root = tempfile::tempdir().unwrap();
        let d = OsDirectory::new(root.path()).join("a").join("b");
        assert!(!d.exists().unwrap());
        d.make().unwrap();
        d.make().unwrap();
        assert!(d.exists().unwrap());
        assert_eq!(d.open("x").unwrap_err().kind(), io::ErrorKind::NotFound);
        let x = d.create("x").unwrap();
        x.write_all_at(b"hello", 3).unwrap();
        x.allocate(8192).unwrap();
        x.sync_data().unwrap();
        assert_eq!(File::len(&x).unwrap(), 8192);
        File::set_len(&x, 10).unwrap();
        d.rename("x", "y").unwrap();
        d.sync().unwrap();
        assert_eq!(d.list().unwrap(), ["y"]);
        assert_eq!(read_small(&d, "y", 16).unwrap().unwrap(), b"\0\0\0hello\0\0");
        assert_eq!(read_small(&d, "y", 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_small(&d, "x", 9).unwrap(), None);
        replace(&d, "y", b"new").unwrap();
        assert_eq!(read_small(&d, "y", 9).unwrap().unwrap(), b"new");
        assert_eq!(d.list().unwrap(), ["y"]);
        assert!(remove(&d, "y").unwrap());
        assert!(!remove(&d, "y").unwrap());
        if cfg!(unix) {
            assert!(d.space().unwrap().unwrap() > 0);
        }
    }
}
