//! Fresh secrets for one local installation. They live in a file of mode 0600 and in memory, nowhere else.

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The secrets of one local installation. Not shown by `Debug`.
pub struct Secrets {
    /// Signs the owner in.
    pub owner_token: String,
    /// What the local cloud takes for Hetzner's token.
    pub hetzner_token: String,
    /// What the local cloud takes for Cloudflare's token.
    pub cloudflare_token: String,
    master_keys: String,
    token_keys: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(redacted)")
    }
}

impl Secrets {
    /// Makes new ones.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn random() -> Result<Self> {
        let keys = || {
            Ok::<_, anyhow::Error>(json!({ "current": "k1", "keys": { "k1": STANDARD.encode(bytes()?) } }))
        };
        Ok(Self {
            owner_token: format!("ebo_{}", hex::encode(bytes()?)),
            hetzner_token: hex::encode(bytes()?),
            cloudflare_token: hex::encode(bytes()?),
            master_keys: keys()?.to_string(),
            token_keys: keys()?.to_string(),
        })
    }

    /// Adds a master key, which seals from now on; the older ones still open.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn add_master_key(&mut self) -> Result<()> {
        add_key(&mut self.master_keys)
    }

    /// Adds a key that signs tokens from now on; the older ones still count.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn add_token_key(&mut self) -> Result<()> {
        add_key(&mut self.token_keys)
    }

    /// Forgets all keys of tokens but the one that signs.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn drop_old_token_keys(&mut self) -> Result<()> {
        keep_current(&mut self.token_keys)
    }

    /// Forgets all master keys but the one that seals.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn drop_old_master_keys(&mut self) -> Result<()> {
        keep_current(&mut self.master_keys)
    }

    /// Writes them, and the other variables, in the form of an env file that only this user can read.
    ///
    /// # Errors
    /// Where the file cannot be written, or a value cannot be written in that form.
    pub fn write_env_file(&self, file: &Path, variables: &[(&str, String)]) -> Result<()> {
        let secrets = [
            ("OWNER_TOKEN", &self.owner_token),
            ("HETZNER_TOKEN", &self.hetzner_token),
            ("CLOUDFLARE_TOKEN", &self.cloudflare_token),
            ("MASTER_KEYS", &self.master_keys),
            ("TOKEN_KEYS", &self.token_keys),
        ];
        let mut text = String::new();
        for (name, value) in secrets.into_iter().chain(variables.iter().map(|(name, value)| (*name, value))) {
            if value.contains(['\'', '\n']) {
                return Err(anyhow!("the value of {name} has a quote or a line break in it"));
            }
            text += &format!("{name}='{value}'\n");
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", file.display()))
    }
}

fn bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system has no randomness: {error}"))?;
    Ok(bytes)
}

fn add_key(ring: &mut String) -> Result<()> {
    let mut keys: Value = serde_json::from_str(ring).context("reading the keys")?;
    let count = keys["keys"].as_object().map_or(0, serde_json::Map::len);
    let id = format!("k{}", count + 1);
    keys["keys"][&id] = json!(STANDARD.encode(bytes()?));
    keys["current"] = json!(id);
    *ring = keys.to_string();
    Ok(())
}

fn keep_current(ring: &mut String) -> Result<()> {
    let keys: Value = serde_json::from_str(ring).context("reading the keys")?;
    let id = keys["current"].as_str().context("no current key")?;
    *ring = json!({ "current": id, "keys": { id: keys["keys"][id] } }).to_string();
    Ok(())
}
