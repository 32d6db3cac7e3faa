//! What comes in over HTTP: routing, authentication, the API's handlers and the dashboard's pages.
//!
//! A request goes `serve` → `routes` (the table) → `auth` → a handler in `api`, or a page in `dashboard` → an answer.
//! Nothing below this folder knows of requests.

pub mod api;
pub mod auth;
pub mod body;
pub mod dashboard;
pub mod health;
pub mod json;
pub mod limits;
pub mod metrics;
pub mod path;
pub mod request;
pub mod response;
pub mod route;
pub mod routes;
pub mod serve;
