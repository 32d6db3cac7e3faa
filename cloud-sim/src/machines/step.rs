//! Errors of setting a machine up: which step failed, and what the system said. They travel as text to cloud-sim,
//! where nobody can act on anything finer.

use std::io;

#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct StepError {
    doing: String,
    source: io::Error,
}

/// Names the step during which an error happened.
pub trait During<T> {
    fn during(self, doing: impl Into<String>) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: impl Into<String>) -> Result<T, StepError> {
        self.map_err(|error| StepError { doing: doing.into(), source: error.into() })
    }
}
