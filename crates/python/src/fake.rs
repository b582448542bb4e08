//! Sealed requests, opened as a community server does: for the fakes of users' tests.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use session_protocol::ServerSecret;
use session_protocol::onion::ReplyKey;
use session_protocol::onion::v4::{Request, Response};

/// Randomness of the operating system.
fn system_rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Method, path with query, headers, body, and the seal of the answer.
type Opened = (String, String, Vec<(String, String)>, Option<Vec<u8>>, Seal);

/// The key pair of a fake community.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct FakeKey(ServerSecret);

#[pymethods]
impl FakeKey {
    /// Makes a new key pair.
    #[new]
    fn new() -> Self {
        Self(ServerSecret::generate(&mut system_rng()))
    }

    /// The public key in hexadecimal.
    fn public(&self) -> String {
        self.0.public().to_string()
    }

    /// Opens the body of a sealed request. Raises `ValueError` if it is not sealed to this key.
    fn open(&self, body: &[u8]) -> PyResult<Opened> {
        let (request, key) =
            Request::open(body, &self.0).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((
            request.method,
            request.endpoint,
            request.headers,
            request.body,
            Seal(key),
        ))
    }
}

/// Seals the answer to one request.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Seal(ReplyKey);

#[pymethods]
impl Seal {
    /// Seals an answer.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        code: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Bound<'py, PyBytes> {
        let answer = Response { code, headers, body };
        PyBytes::new(py, &answer.seal(&self.0, &mut system_rng()))
    }
}
