//! What the log on disk needs of a file system, so little that the simulation can play one that breaks.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// Names of the file that says that a folder is in use.
const LOCK: &str = "lock";

/// A folder of files. What [`Files::write`] has written is sure to be there after a crash when [`Files::sync`] has
/// returned well; all else is sure when its own call has.
pub trait Files {
    /// Names of all files, in any order.
    ///
    /// # Errors
    /// When the system does not tell.
    fn names(&mut self) -> io::Result<Vec<String>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// When there is one of this name, or the system does not make it.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Appends to `into` what stands in a file from `at` on, up to `len` bytes: fewer only where the file ends.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&mut self, name: &str, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()>;

    /// Writes bytes from `at` on.
    ///
    /// # Errors
    /// When it cannot; then a part may be written.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is safe.
    ///
    /// # Errors
    /// When it may not be. Asking again does not help: what the system could not write it may have thrown away.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Cuts a file to a length.
    ///
    /// # Errors
    /// When it cannot be cut for sure.
    fn cut(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not removed for sure.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Lets a file, all of which is safe, take the place and the name of another one at one stroke.
    ///
    /// # Errors
    /// When it has not for sure. Then either of both may be there under that name.
    fn replace(&mut self, file: &str, other: &str) -> io::Result<()>;
}

/// A folder of this system, held by one process to be written to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file that was used last.
    open: Option<(String, File)>,
    /// `None`: to be read only.
    lock: Option<File>,
}

impl Folder {
    /// Makes the folder if there is none, for its owner alone, and takes it.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        for folder in missing.into_iter().rev() {
            DirBuilder::new().mode(0o700).create(folder)?;
            sync_folder(parent(folder))?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), open: None, lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it: end that one first"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The folder to be read only, whoever writes to it. What would write fails.
    #[must_use]
    pub fn look(path: &Path) -> Folder {
        Folder { path: path.to_owned(), open: None, lock: None }
    }

    fn may_write(&self) -> io::Result<()> {
        self.lock.as_ref().map(|_| ()).ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        let (_, file) = match self.open.take().filter(|(open, _)| open == name) {
            Some(open) => self.open.insert(open),
            None => {
                let file = OpenOptions::new().read(true).write(self.lock.is_some()).open(self.path.join(name))?;
                self.open.insert((name.to_owned(), file))
            }
        };
        Ok(file)
    }
}

/// That a file is there, or is not, is known to its folder, which must be safe as well.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Files for Folder {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names = fs::read_dir(&self.path)?.map(name).collect::<io::Result<Vec<_>>>()?;
        names.retain(|name| name != LOCK);
        Ok(names)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        OpenOptions::new().create_new(true).write(true).open(self.path.join(name))?.sync_all()?;
        sync_folder(&self.path)
    }

    fn read(&mut self, name: &str, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let file = self.file(name)?;
        // Nothing is allocated for what is not there.
        let there = file.metadata()?.len().saturating_sub(at).min(len as u64) as usize;
        let before = into.len();
        into.resize(before + there, 0);
        file.read_exact_at(&mut into[before..], at)
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, at)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn cut(&mut self, name: &str, len: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        self.open.take_if(|(open, _)| open == name);
        fs::remove_file(self.path.join(name))?;
        sync_folder(&self.path)
    }

    fn replace(&mut self, file: &str, other: &str) -> io::Result<()> {
        self.may_write()?;
        self.open = None;
        fs::rename(self.path.join(file), self.path.join(other))?;
        sync_folder(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_of_one_process_and_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        let held = Folder::open(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
        let busy = Folder::open(&path).expect_err("in use");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        let mut look = Folder::look(&path);
        look.names().expect("a look does not mind");
        assert!(look.create("x").is_err() && look.remove("x").is_err());
        drop(held);
        Folder::open(&path).expect("free again");
    }

    #[test]
    fn files_are_written_read_cut_and_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::open(dir.path()).expect("made");
        folder.create("one").expect("made");
        folder.create("two").expect("made");
        assert!(folder.create("one").is_err(), "there is one");
        folder.write("one", 0, b"hello world").expect("written");
        folder.sync("one").expect("synced");
        folder.cut("one", 8).expect("cut");
        let mut read = b">".to_vec();
        folder.read("one", 4, 100, &mut read).expect("read");
        assert_eq!(read, b">o wo");
        folder.replace("two", "one").expect("replaced");
        read.clear();
        folder.read("one", 0, 100, &mut read).expect("read");
        assert_eq!(read, b"", "it is the other one, which is empty");
        folder.create("two").expect("its name is free");
        folder.remove("one").expect("removed");
        assert!(folder.read("one", 0, 1, &mut read).is_err());
        assert_eq!(folder.names().expect("told"), ["two"]);
    }
}
