//! The cluster's key: from the settings, or from a file of the data folder that is made at the first start, or drawn anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tracing::warn;

use crate::codec::token::Key;
use crate::config::{Config, LogUrl};

/// Name of the file in the data folder: 64 hexadecimal digits, for its owner alone.
const FILE: &str = "key";

/// The key that this gateway seals tokens with.
///
/// # Errors
/// When the file cannot be read or made, is no key, or others may read it.
pub(super) fn find(config: &Config) -> Result<Key> {
    match (&config.key, &config.log) {
        (Some(key), _) => Ok(key.clone()),
        (None, LogUrl::Disk(folder)) => {
            let path = folder.join(FILE);
            forget_that_of_another_log(folder, &path)
                .and_then(|()| of_file(&path))
                .with_context(|| format!("key: cannot use {}", path.display()))
        }
        (None, LogUrl::Memory) => Ok(draw()?),
        (None, LogUrl::Kafka(_)) => {
            warn!("no key is set: sessions cannot be resumed on other gateways, or after a restart");
            Ok(draw()?)
        }
    }
}

/// Sessions are numbered by the log: in a new one the numbers of the old are given again, to others. So a key that is there
/// without a log must open nothing.
fn forget_that_of_another_log(folder: &Path, key: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        if entry?.path().extension().is_some_and(|suffix| suffix == "log") {
            return Ok(());
        }
    }
    match fs::remove_file(key) {
        Ok(()) => warn!("the data folder has a key and no log: sessions of before cannot be resumed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The folder is there, and this process holds it: the log has been opened.
fn of_file(path: &Path) -> Result<Key> {
    match File::open(path) {
        Ok(mut file) => {
            let mode = file.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                bail!("others than its owner have rights to it (mode {:o}); it must have 600", mode & 0o777);
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Key::from_hex(&text).context("it does not hold 64 hexadecimal digits")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = draw()?;
            let text: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            // Whole or not at all, also if the power goes.
            let half = path.with_extension("new");
            match fs::remove_file(&half) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&half, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            Ok(key)
        }
        Err(error) => Err(error.into()),
    }
}

fn draw() -> Result<Key> {
    let mut bytes = [0; Key::BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("key: the system gives no random bytes")?;
    Ok(Key::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_its_log_is_another_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join(FILE);
        let find = || {
            forget_that_of_another_log(folder.path(), &key).expect("readable");
            of_file(&key).expect("a key")
        };
        let first = find();
        assert_ne!(find().bytes(), first.bytes(), "there was no log");
        let second = of_file(&key).expect("a key");
        fs::write(folder.path().join("00000000000000000001.log"), "").expect("writable");
        assert_eq!(find().bytes(), second.bytes());
    }

    #[test]
    fn the_file_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        fs::write(path.with_extension("new"), "half of a").expect("left by a crash");
        let key = of_file(&path).expect("made");
        assert_eq!(of_file(&path).expect("read"), key);
        assert_ne!(key, draw().expect("random"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        assert!(of_file(&path).is_err(), "the group may read it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        fs::write(&path, "short").expect("ours");
        assert!(of_file(&path).is_err(), "never replaced by another");
    }
}
