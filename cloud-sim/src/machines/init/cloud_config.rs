//! The little of cloud-init's configuration that machines honour, parsed from user-data as a client sent it.
//!
//! Pure: bytes to values. Keys that mean nothing here are listed, so that the boot log can say they were ignored.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    #[error("the user-data is neither text nor base64")]
    Encoding,
    #[error("the user-data does not unpack")]
    Gzip(#[source] std::io::Error),
    #[error("the user-data does not start with #cloud-config")]
    NotCloudConfig,
    #[error("the user-data is no valid cloud-config: {0}")]
    Yaml(String),
}

/// The largest user-data after unpacking.
const MAX_UNPACKED_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CloudConfig {
    pub hostname: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub bootcmd: Vec<CommandLine>,
    #[serde(deserialize_with = "or_default")]
    pub write_files: Vec<FileToWrite>,
    #[serde(deserialize_with = "or_default")]
    pub users: Vec<User>,
    #[serde(deserialize_with = "or_default")]
    pub packages: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    pub runcmd: Vec<CommandLine>,
    /// Everything that is ignored.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// A list is a program and its arguments, a text is a line of shell.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    Shell(String),
    Program(Vec<Value>),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FileToWrite {
    pub path: String,
    pub content: Option<Value>,
    pub encoding: Option<String>,
    pub permissions: Option<Value>,
    pub owner: Option<String>,
    pub append: bool,
    pub defer: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum User {
    /// Only `default` is known to cloud-init.
    Named(String),
    Described(Box<UserDescription>),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UserDescription {
    pub name: String,
    pub uid: Option<Value>,
    pub shell: Option<String>,
    pub homedir: Option<String>,
    /// A comma-separated text or a list.
    pub groups: Option<Value>,
    pub system: bool,
    pub no_create_home: bool,
}

/// A key without a value is the same as no key.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(value: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(value)?.unwrap_or_default())
}

/// Unpacks and reads user-data. Empty user-data is an empty configuration.
pub fn parse(user_data: &[u8]) -> Result<CloudConfig, UserDataError> {
    let text = unpack(user_data)?;
    if text.trim().is_empty() {
        return Ok(CloudConfig::default());
    }
    if text.lines().next().is_none_or(|line| line.trim_end() != "#cloud-config") {
        return Err(UserDataError::NotCloudConfig);
    }
    let yaml = |error: String| UserDataError::Yaml(error);
    // PyYAML, which cloud-init uses, reads YAML 1.1: there, 0644 is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let value: Option<Value> =
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| yaml(error.to_string()))?;
    match value {
        None | Some(Value::Null) => Ok(CloudConfig::default()),
        Some(value) => serde_json::from_value(value).map_err(|error| yaml(error.to_string())),
    }
}

fn unpack(user_data: &[u8]) -> Result<String, UserDataError> {
    let bytes = match maybe_base64(user_data) {
        Some(decoded) => decoded,
        None => user_data.to_vec(),
    };
    let bytes = if is_gzip(&bytes) { gunzip(&bytes).map_err(UserDataError::Gzip)? } else { bytes };
    String::from_utf8(bytes).map_err(|_| UserDataError::Encoding)
}

/// As the provider's data source does it: what decodes is taken for encoded.
fn maybe_base64(user_data: &[u8]) -> Option<Vec<u8>> {
    if user_data.starts_with(b"#") || is_gzip(user_data) {
        return None;
    }
    let compact: Vec<u8> = user_data.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).ok()
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).take(MAX_UNPACKED_BYTES + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(std::io::Error::other("too large"));
    }
    Ok(unpacked)
}

/// The host name that user-data asks for, where it is one.
pub fn host_name(user_data: &[u8]) -> Option<String> {
    let name = parse(user_data).ok()?.hostname?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    ((1..=63).contains(&name.len()) && name.bytes().all(letters) && !name.starts_with(['-', '.']))
        .then_some(name)
}

/// The one script that cloud-init makes of a list of commands: in order, and one that fails stops nothing.
pub fn script(commands: &[CommandLine]) -> String {
    let lines = commands.iter().map(|command| match command {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Program(words) => {
            words.iter().map(|word| single_quoted(&scalar_text(word))).collect::<Vec<_>>().join(" ")
        }
    });
    std::iter::once("#!/bin/sh".to_owned()).chain(lines).map(|line| line + "\n").collect()
}

fn single_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A scalar as a person would have typed it.
fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl FileToWrite {
    /// The bytes to write.
    pub fn decoded(&self) -> Result<Vec<u8>, UserDataError> {
        let text = self.content.as_ref().map(scalar_text).unwrap_or_default();
        let base64 = |text: &str| {
            let compact: String = text.split_whitespace().collect();
            STANDARD.decode(compact).map_err(|_| UserDataError::Encoding)
        };
        let encoding = self.encoding.as_deref().unwrap_or_default().to_ascii_lowercase();
        match encoding.as_str() {
            "b64" | "base64" => base64(&text),
            "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
                gunzip(&base64(&text)?).map_err(UserDataError::Gzip)
            }
            // Binary text in YAML is base64 by its tag, which is lost here.
            "gz" | "gzip" => base64(&text).and_then(|bytes| gunzip(&bytes).map_err(UserDataError::Gzip)),
            _ => Ok(text.into_bytes()),
        }
    }

    pub fn mode(&self) -> u32 {
        const DEFAULT: u32 = 0o644;
        match &self.permissions {
            Some(Value::Number(number)) => {
                number.as_u64().and_then(|mode| u32::try_from(mode).ok()).unwrap_or(DEFAULT)
            }
            Some(Value::String(text)) => {
                let digits = text.trim_start_matches("0o");
                u32::from_str_radix(digits, 8).unwrap_or(DEFAULT)
            }
            _ => DEFAULT,
        }
    }
}

impl UserDescription {
    pub fn group_names(&self) -> Vec<String> {
        let text = match &self.groups {
            Some(Value::Array(names)) => names.iter().map(scalar_text).collect::<Vec<_>>().join(","),
            Some(other) => scalar_text(other),
            None => String::new(),
        };
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    pub fn uid_text(&self) -> Option<String> {
        self.uid.as_ref().map(scalar_text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const EXAMPLE: &str = "#cloud-config\n\
        hostname: other\n\
        ssh_pwauth: false\n\
        packages:\n\
        write_files:\n\
        - path: /etc/a\n  content: |\n    one\n    two\n  permissions: '0600'\n  owner: root:adm\n\
        - {path: /etc/b, content: aGk=, encoding: b64, permissions: 0755, append: true, defer: true}\n\
        users: [default, {name: dev, uid: 1000, groups: 'a, b'}]\n\
        runcmd:\n\
        - [echo, \"it's\", 5, true]\n\
        - cd /tmp && pwd\n";

    fn gzip(text: &str) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn the_parts_that_are_honoured_are_read() {
        let config = parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(config.write_files[0].decoded().unwrap(), b"one\ntwo\n");
        assert_eq!(config.write_files[0].mode(), 0o600);
        assert_eq!(config.write_files[1].decoded().unwrap(), b"hi");
        assert_eq!(config.write_files[1].mode(), 0o755);
        assert!(config.write_files[1].append && config.write_files[1].defer);
        assert_eq!(config.users[0], User::Named("default".into()));
        let User::Described(user) = &config.users[1] else { panic!("no user") };
        assert_eq!(
            (user.uid_text().as_deref(), user.group_names().join(";").as_str()),
            (Some("1000"), "a;b")
        );
        assert!(config.packages.is_empty());
        assert_eq!(config.hostname.as_deref(), Some("other"));
        assert_eq!(config.others.keys().collect::<Vec<_>>(), ["ssh_pwauth"]);
    }

    #[test]
    fn lists_are_programs_and_texts_are_shell() {
        let config = parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(script(&config.runcmd), "#!/bin/sh\n'echo' 'it'\\''s' '5' 'true'\ncd /tmp && pwd\n");
    }

    #[test]
    fn every_packing_that_the_provider_accepts_is_unpacked() {
        let packed = gzip(EXAMPLE);
        for user_data in [
            EXAMPLE.as_bytes().to_vec(),
            STANDARD.encode(EXAMPLE).into_bytes(),
            STANDARD.encode(&packed).into_bytes(),
            packed,
        ] {
            assert_eq!(parse(&user_data).unwrap().runcmd.len(), 2);
        }
        assert!(parse(b"").unwrap().runcmd.is_empty());
        assert!(parse(b"#cloud-config\n").unwrap().runcmd.is_empty());
    }

    #[test]
    fn what_is_no_cloud_config_is_refused() {
        assert!(matches!(parse(b"#!/bin/sh\necho"), Err(UserDataError::NotCloudConfig)));
        assert!(matches!(parse(b"#cloud-config\nruncmd: 5"), Err(UserDataError::Yaml(_))));
        assert!(matches!(parse(&[0x1f, 0x8b, 1]), Err(UserDataError::Gzip(_))));
        assert!(matches!(parse(&[0xff, 0xfe]), Err(UserDataError::Encoding)));
    }
}
