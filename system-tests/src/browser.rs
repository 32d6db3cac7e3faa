//! The part of a browser that it takes to open a port with a link: follows one redirect and keeps the cookie.

use crate::Stack;
use crate::http::Answer;
use anyhow::{Context, Result};
use serde_json::json;

/// A visitor of one port, with whatever cookie it was given.
#[derive(Debug, Clone)]
pub struct Visitor {
    host: String,
    cookie: Option<String>,
}

/// What a browser sends when a person opens a page.
const NAVIGATION: [(&str, &str); 3] =
    [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none"), ("sec-fetch-dest", "document")];

impl Visitor {
    /// Somebody without any right, at a port's host name.
    pub fn stranger(host: &str) -> Self {
        Self { host: host.to_owned(), cookie: None }
    }

    /// Asks for a link to a port as the owner; says it without opening it.
    ///
    /// # Errors
    /// Where the control plane makes none.
    pub fn link(stack: &Stack, workspace: &str, port: u16) -> Result<String> {
        let path = format!("/v1/workspaces/{workspace}/ports/{port}/link");
        let answer = stack.api.call("POST", &path, Some(&json!({ "for": "1h" })))?.expect(201)?;
        Ok(answer.json()["url"].as_str().context("a link without a URL")?.to_owned())
    }

    /// Opens a link once. The answer is the last one; the visitor keeps the cookie.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn open(stack: &Stack, link: &str) -> Result<(Self, Answer)> {
        let (_, rest) = link.split_once("://").with_context(|| format!("no URL: {link}"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut visitor = Self::stranger(authority);
        let answer = visitor.get(stack, &format!("/{path}"))?;
        let Some(set) = answer.header("set-cookie").filter(|_| answer.status == 303) else {
            return Ok((visitor, answer));
        };
        visitor.cookie = set.split(';').next().map(str::to_owned);
        let location = answer.header("location").unwrap_or("/").to_owned();
        let answer = visitor.get(stack, &location)?;
        Ok((visitor, answer))
    }

    /// Opens a page.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn get(&self, stack: &Stack, path: &str) -> Result<Answer> {
        let mut headers = NAVIGATION.to_vec();
        if let Some(cookie) = &self.cookie {
            headers.push(("cookie", cookie));
        }
        stack.visit(&self.host, path, &headers)
    }
}
