//! TEMPORARY
use crate::config::Config;
use crate::token::keys::SecretKey;
use crate::token::opaque::SecretText;
use std::path::{Path, PathBuf};
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self(e.to_string())
    }
}
pub struct InstanceLock;
pub struct AdminFile {
    pub client_id: String,
    pub client_secret: SecretText,
    pub issuer: String,
}
pub struct Files {
    dir: PathBuf,
    db: PathBuf,
}
impl Files {
    pub fn of(c: &Config) -> Self {
        Self { dir: c.store.directory().into(), db: c.store.path.clone() }
    }
    pub fn prepare_directory(&self) -> Result<(), Error> {
        Ok(std::fs::create_dir_all(&self.dir)?)
    }
    pub fn lock(&self) -> Result<InstanceLock, Error> {
        Ok(InstanceLock)
    }
    pub fn master_key_or_make(&self, r: &[u8; 32]) -> Result<SecretKey, Error> {
        let p = self.dir.join("master.key");
        if !p.exists() {
            std::fs::write(&p, r)?;
        }
        self.master_key()
    }
    pub fn master_key(&self) -> Result<SecretKey, Error> {
        Ok(SecretKey::new(std::fs::read(self.dir.join("master.key"))?.try_into().unwrap()))
    }
    pub fn database(&self) -> &Path {
        &self.db
    }
    pub fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }
    pub fn admin_file(&self) -> PathBuf {
        self.dir.join("admin.json")
    }
    pub fn admin(&self) -> Result<AdminFile, Error> {
        Err(Error("x".into()))
    }
    pub fn admin_or_make(&self, f: impl Fn() -> AdminFile) -> Result<AdminFile, Error> {
        let a = f();
        std::fs::write(
            self.admin_file(),
            format!("{{\"client_id\":\"{}\",\"client_secret\":\"{}\",\"issuer\":\"{}\"}}", a.client_id, a.client_secret.expose(), a.issuer),
        )?;
        Ok(a)
    }
    pub fn malformed_admin(&self) -> Error {
        Error("malformed".into())
    }
}
