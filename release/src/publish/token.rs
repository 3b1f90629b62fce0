//! Credentials for a registry: what it asks for in its challenge, basic or a token from the place that it names.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::client::{Answer, Client, Request, Secret, encode_path, is_confidential};
use super::{Error, Login};

/// The credentials of one repository and the header that the registry took last.
#[derive(Debug)]
pub(crate) struct Tokens {
    login: Login,
    repository: String,
    header: Mutex<Option<Secret>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Tokens {
    pub(crate) fn new(login: Login, repository: &str) -> Self {
        let header = match &login {
            Login::Token(Secret(token)) => Some(Secret(format!("Bearer {token}"))),
            Login::Anonymous | Login::Basic { .. } => None,
        };
        Self { login, repository: repository.to_owned(), header: Mutex::new(header) }
    }

    /// The request with the header that is known to be right, if one is.
    pub(crate) fn authorize(&self, request: Request) -> Request {
        match self.header.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(header) => request.secret_header("authorization", header),
            None => request,
        }
    }

    /// Does what the challenge of a 401 asks for; false if there is nothing that we could do.
    pub(crate) fn answer(&self, client: &Client, challenge: &str) -> Result<bool, Error> {
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        let header = match (&self.login, scheme.to_ascii_lowercase().as_str()) {
            (Login::Basic { .. }, "basic") => self.basic(),
            (Login::Basic { .. } | Login::Anonymous, "bearer") => Some(self.exchange(client, parameters)?),
            _ => None,
        };
        let known = header.is_some();
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = header;
        Ok(known)
    }

    fn basic(&self) -> Option<Secret> {
        let Login::Basic { user, password } = &self.login else { return None };
        Some(Secret(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.0)))))
    }

    fn exchange(&self, client: &Client, parameters: &str) -> Result<Secret, Error> {
        let realm = parameter(parameters, "realm").unwrap_or_default();
        if !is_confidential(realm) {
            let why = "the registry sends us for a token to a place that others can listen to".to_owned();
            return Err(Error::Input { what: realm.to_owned(), why });
        }
        let scope = encode_path(&format!("repository:{}:pull,push", self.repository));
        let service = parameter(parameters, "service").map(encode_path).unwrap_or_default();
        let mut request = Request::new("GET", format!("{realm}?service={service}&scope={scope}"));
        if let Some(basic) = self.basic() {
            request = request.secret_header("authorization", basic);
        }
        let answer: Answer = client.send(&request)?.expect(&[200], &request, super::registry::HINT)?;
        let answer: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|e| request.answer_error(e))?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| request.answer_error("no token in it"))?;
        Ok(Secret(format!("Bearer {token}")))
    }
}

/// The value of a parameter of a challenge.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        let (key, value) = rest.trim_start_matches([',', ' ']).split_once("=\"")?;
        let (value, after) = value.split_once('"')?;
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn parameters_are_found_wherever_they_stand() {
        let parameters =
            r#"realm="https://auth.example/token",service="registry, the",scope="repository:a/b:pull,push""#;
        assert_eq!(parameter(parameters, "realm"), Some("https://auth.example/token"));
        assert_eq!(parameter(parameters, "Service"), Some("registry, the"));
        assert_eq!(parameter(parameters, "scope"), Some("repository:a/b:pull,push"));
        assert_eq!(parameter(parameters, "error"), None);
        assert_eq!(parameter("realm=unquoted", "realm"), None);
    }
}
