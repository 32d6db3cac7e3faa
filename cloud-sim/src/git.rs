//! A read-only git host: repositories of one directory over git's smart HTTP, by git's own `http-backend` (CGI).
//!
//! `/{name}.git` is `{dir}/{name}.git` or `{dir}/{name}`, bare or with a work tree; symbolic links may point elsewhere.
//! It never takes a push and never serves a file that git would not. Whatever is called `private-…` asks for
//! credentials, as a host does that does not tell strangers what it has; the one line of a file `password` in its git
//! directory opens it, read anew each time.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::process::{ChildStdin, Command};
use tokio::task::JoinSet;

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// The directory whose repositories are served; without one there are none.
#[derive(Debug, Clone)]
pub struct Repositories {
    dir: Option<PathBuf>,
}

/// What a client may ask of a repository.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    name: &'a str,
    /// The part of the path that git sees, with its slash.
    inside: &'a str,
}

impl Repositories {
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The git directory of a repository.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        let is_git_dir = |path: &Path| path.join("HEAD").is_file() && path.join("objects").is_dir();
        [dir.join(format!("{name}.git")), dir.join(name)]
            .into_iter()
            .flat_map(|path| [path.join(".git"), path])
            .find(|path| is_git_dir(path))
    }
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, repositories: Arc<Repositories>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, most likely; some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_one(stream, repositories.clone()));
    }
}

/// Serves on a local socket until dropped.
pub async fn serve_local(listener: UnixListener, repositories: Arc<Repositories>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_one(stream, repositories.clone()));
    }
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    repositories: Arc<Repositories>,
) {
    let service = service_fn(move |request| {
        let repositories = repositories.clone();
        async move { Ok::<_, Infallible>(answer(&repositories, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the git host broke off");
    }
}

async fn answer(repositories: &Repositories, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let wanted = match wanted(&parts.method, parts.uri.path(), query) {
        Ok(wanted) => wanted,
        Err((status, text)) => return plain(status, text),
    };
    let git_dir = repositories.find(wanted.name);
    if wanted.name.starts_with("private-") && !is_let_in(git_dir.as_deref(), &parts.headers) {
        return plain(StatusCode::UNAUTHORIZED, "sign in to see this repository\n");
    }
    let Some(git_dir) = git_dir else {
        return plain(StatusCode::NOT_FOUND, "no such repository\n");
    };
    let mut command = backend(&git_dir, wanted.inside, &parts.method, query, &parts.headers);
    match run(&mut command, body).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, repository = wanted.name, "git http-backend failed");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "git http-backend failed\n")
        }
    }
}

/// Decides what a request may have: the two steps of a fetch, and nothing else.
fn wanted<'a>(method: &Method, path: &'a str, query: &str) -> Result<Wanted<'a>, (StatusCode, &'static str)> {
    const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "no such repository\n");
    const READ_ONLY: (StatusCode, &str) = (StatusCode::FORBIDDEN, "this git host is read-only\n");
    let (name, inside) = path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or(NOT_FOUND)?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    let plain_name = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !plain_name {
        return Err(NOT_FOUND);
    }
    let inside = match (method, inside, query) {
        (&Method::GET, "info/refs", "service=git-upload-pack") => "/info/refs",
        (&Method::POST, "git-upload-pack", "") => "/git-upload-pack",
        (_, "info/refs", "service=git-receive-pack") | (_, "git-receive-pack", _) => return Err(READ_ONLY),
        _ => return Err((StatusCode::NOT_FOUND, "only fetching over the smart protocol is served\n")),
    };
    Ok(Wanted { name, inside })
}

/// Whether the request carries the repository's password; whose it is does not matter, as with tokens.
fn is_let_in(git_dir: Option<&Path>, headers: &HeaderMap) -> bool {
    let wanted = git_dir.and_then(|git_dir| std::fs::read_to_string(git_dir.join("password")).ok());
    let sent = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok());
    let sent = sent.as_deref().and_then(|text| text.split_once(':')).map(|(_, password)| password);
    wanted.is_some_and(|wanted| sent == Some(wanted.trim_end()))
}

fn backend(git_dir: &Path, inside: &str, method: &Method, query: &str, headers: &HeaderMap) -> Command {
    let mut command = Command::new("git");
    let mut translated = git_dir.as_os_str().to_owned();
    translated.push(inside);
    command
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        // The directory was chosen by whoever started us; its owner does not matter for reading.
        .env("GIT_CONFIG_COUNT", "2")
        .envs([("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")])
        .envs([("GIT_CONFIG_KEY_1", "uploadpack.allowFilter"), ("GIT_CONFIG_VALUE_1", "true")])
        .env("PATH_INFO", inside)
        .env("PATH_TRANSLATED", translated)
        .env("REQUEST_METHOD", method.as_str())
        .env("QUERY_STRING", query)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for (header, variable) in [
        (CONTENT_TYPE, "CONTENT_TYPE"),
        (HeaderName::from_static("content-encoding"), "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "GIT_PROTOCOL"),
    ] {
        if let Some(value) = headers.get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    command
}

/// Runs the program, streaming both bodies.
async fn run(command: &mut Command, body: Incoming) -> std::io::Result<Answer> {
    let mut child = command.spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("no pipes"));
    };
    let upload = tokio::spawn(feed(body, input));
    let mut output = BufReader::new(output);
    let (status, headers) = cgi_head(&mut output).await?;
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(8);
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match output.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => {
                    let Some(chunk) = buffer.get(..read).map(Bytes::copy_from_slice) else { break };
                    if sender.send_data(chunk).await.is_err() {
                        // The client left; dropping the child ends it.
                        upload.abort();
                        return;
                    }
                }
                Err(error) => {
                    sender.abort(error);
                    return;
                }
            }
        }
        let _ = child.wait().await;
    });
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

async fn feed(mut body: Incoming, mut input: ChildStdin) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref()
            && input.write_all(data).await.is_err()
        {
            return;
        }
    }
}

/// Reads a CGI program's header lines, up to and with the empty one.
async fn cgi_head(output: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("it ended before its headers did"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code.parse().map_err(std::io::Error::other)?;
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"git\""));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fetching_is_served() {
        let get = |path, query| wanted(&Method::GET, path, query).map_err(|(status, _)| status.as_u16());
        let fetch = "service=git-upload-pack";
        assert_eq!(get("/app.git/info/refs", fetch), Ok(Wanted { name: "app", inside: "/info/refs" }));
        assert_eq!(get("/app/info/refs", fetch), Ok(Wanted { name: "app", inside: "/info/refs" }));
        assert_eq!(get("/app.git/info/refs", "service=git-receive-pack"), Err(403));
        assert_eq!(get("/app.git/config", ""), Err(404));
        assert_eq!(get("/../info/refs", fetch), Err(404));
        assert_eq!(get("/.ssh/info/refs", fetch), Err(404));
        assert_eq!(get("/-x/info/refs", fetch), Err(404));
        assert_eq!(get("/a%2Fb/info/refs", fetch), Err(404));
        assert_eq!(get("/info", fetch), Err(404));
        let post = |path| wanted(&Method::POST, path, "").map_err(|(status, _)| status.as_u16());
        assert_eq!(post("/app.git/git-upload-pack"), Ok(Wanted { name: "app", inside: "/git-upload-pack" }));
        assert_eq!(post("/app.git/git-receive-pack"), Err(403));
    }
}
