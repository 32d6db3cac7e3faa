//! Brings bundles to an installation: parts that it lacks, then the word that they are a program.

use crate::make::Bundle;
use anyhow::{Context, Result, bail, ensure};
use ebbtide_api::error::ErrorBody;
use ebbtide_api::programs::{Part, Program, ProgramList, PublishProgram};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// Longest time for one part: 64 MiB at 1 Mbit/s.
const LONGEST: Duration = Duration::from_mins(10);
/// How often a part is sent.
const TRIES: u32 = 3;

/// An installation, with its owner's right to change it.
#[derive(Debug)]
pub struct Installation {
    url: String,
    token: String,
    agent: Agent,
}

impl Installation {
    /// The installation at an address, to whoever holds an admin's token.
    pub fn new(url: &str, token: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(LONGEST));
        // A proxy of this computer's does not lead to this computer.
        let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let is_here = host.is_some_and(|host| host == "127.0.0.1" || host == "localhost");
        let config = if is_here { config.proxy(None) } else { config };
        let url = url.trim_end_matches('/').to_owned();
        Self { url, token: token.to_owned(), agent: Agent::new_with_config(config.build()) }
    }

    /// What it has published.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn published(&self) -> Result<ProgramList> {
        let request = self.agent.get(format!("{}/v1/programs", self.url));
        let answer = request.header("authorization", self.bearer()).call();
        let text = read(answer.context("asking what is published")?)?;
        serde_json::from_str(&text).context("reading what is published")
    }

    /// Publishes a bundle, and says how many bytes that took: none where it is published already.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn publish(&self, bundle: &Bundle, say: &dyn Fn(&str)) -> Result<u64> {
        let Program { name, version, parts, unpacked_bytes } = &bundle.program;
        if self.published()?.find(name) == Some(&bundle.program) {
            return Ok(0);
        }
        let mut sent = 0;
        for (number, part) in parts.iter().enumerate() {
            say(&format!("{name} {version}, part {} of {}", number + 1, parts.len()));
            sent += self.bring(bundle, part)?;
        }
        let body = PublishProgram {
            version: version.clone(),
            parts: parts.clone(),
            unpacked_bytes: *unpacked_bytes,
        };
        let request = self.agent.put(format!("{}/v1/programs/{name}", self.url));
        let request = request.header("authorization", self.bearer()).content_type("application/json");
        let answer = request.send(serde_json::to_vec(&body)?);
        read(answer.with_context(|| format!("publishing {name}"))?)?;
        Ok(sent)
    }

    /// Uploads a part, unless it is there.
    fn bring(&self, bundle: &Bundle, part: &Part) -> Result<u64> {
        let path = format!("{}/v1/programs/parts/{}", self.url, part.sha256);
        let there = self.agent.get(&path).header("authorization", self.bearer()).call();
        if there.context("asking for a part")?.status() == 200 {
            return Ok(0);
        }
        let content = std::fs::read(bundle.directory.join(&part.sha256))?;
        let mut tried = 1;
        loop {
            let request = self.agent.put(&path).header("authorization", self.bearer());
            let answer = request.content_type("application/octet-stream").send(&content[..]);
            match answer.context("uploading a part").and_then(read) {
                Ok(_) => return Ok(part.size_bytes),
                Err(error) if tried == TRIES => return Err(error),
                Err(_) => tried += 1,
            }
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// The text of an answer that is no refusal.
fn read(mut answer: Response<ureq::Body>) -> Result<String> {
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    if let Ok(refusal) = serde_json::from_str::<ErrorBody>(&text) {
        bail!("refused with {status}: {} {}", refusal.message, refusal.hint);
    }
    ensure!(
        (200..300).contains(&status),
        "answered {status}: {}",
        text.chars().take(200).collect::<String>()
    );
    Ok(text)
}
