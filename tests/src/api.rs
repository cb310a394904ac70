//! The API over HTTP: a deployed one, or a local service for the test alone.

use std::io::{self, Write};
use std::path::Path;
use std::{env, process};

use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lambda_http::Body;
use lambda_http::http::{Method, Request, Uri};
use local::{Database, Options, Service, Template};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use users_core::TABLE_VARIABLE;

use crate::auth::authenticate;
use crate::{Reply, TEMPLATE, executables};

/// A deployed API has one table, which the tests of a process use in turn. Whoever runs them sees to it that there is one
/// such process.
static TURN: Mutex<()> = Mutex::const_new(());

/// Whether the users of a deployed API may be deleted, found out once.
static MAY_WIPE: OnceCell<()> = OnceCell::const_new();

/// An API to talk to. At first it has no users.
pub struct Api {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    service: Option<Service>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Api {
    /// The API at the URL in the environment variable `API_ENDPOINT`, whose users are deleted; without the variable, a local
    /// service of the test's own.
    ///
    /// # Panics
    ///
    /// If there is no such API, or if it is not on this machine and has users, unless `WIPE` is `1`.
    pub async fn new() -> Self {
        let Some(url) = env::var("API_ENDPOINT").ok().filter(|url| !url.trim().is_empty()) else {
            return Self::local(Database::Memory).await;
        };
        let turn = TURN.lock().await;
        let url = url.trim().trim_end_matches('/').to_owned();
        let api = Self { url, client: client(), service: None, _turn: Some(turn) };
        MAY_WIPE.get_or_init(|| api.refuse_to_lose_users()).await;
        assert_eq!(api.delete("/users").await.status, 200);
        api
    }

    /// A local service of the test's own, with its users in this database.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn local(database: Database) -> Self {
        let template = Template::read(Path::new(TEMPLATE)).expect("the template");
        Self::start(Options { database, ..Options::new(template, executables().to_owned()) }).await
    }

    /// Starts a local service that keeps its users in a table of the DynamoDB at this URL, with one
    /// process for each function, so that the one that met a fault serves the next request.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn on(endpoint: &str, table: &str) -> Self {
        let mut template = Template::read(Path::new(TEMPLATE)).expect("the template");
        table.clone_into(&mut template.table.name);
        for function in template.functions.values_mut() {
            function.variables.insert(TABLE_VARIABLE.to_owned(), table.to_owned());
        }
        let options = Options::new(template, executables().to_owned());
        let database = Database::Endpoint(endpoint.to_owned());
        Self::start(Options { database, instances: 1, ..options }).await
    }

    /// A local service that is run this way.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn start(options: Options) -> Self {
        let service = Service::start(options).await.expect("a local service");
        Self {
            url: service.url().to_owned(),
            client: client(),
            service: Some(service),
            _turn: None,
        }
    }

    /// The local service, if it is one.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Stops the local service, if it is one.
    pub async fn stop(self) {
        if let Some(service) = self.service {
            service.stop().await;
        }
    }

    async fn refuse_to_lose_users(&self) {
        let host = self
            .url
            .parse::<Uri>()
            .ok()
            .and_then(|uri| uri.host().map(str::to_owned))
            .expect("API_ENDPOINT is a URL");
        if env::var("WIPE").as_deref() == Ok("1")
            || ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str())
        {
            return;
        }
        let (mut users, mut next) = (0, Some("/users?limit=1000".to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{}", page.text);
            users += page.json().as_array().map_or(0, Vec::len);
            next = page.next_url().map(|url| self.path_of(&url).to_owned());
        }
        // Not a panic, which would end one test and let the next go on; and not eprintln, which is captured.
        if users > 0 {
            let advice = "these tests delete all users: use WIPE=1 if that is what you want";
            let _ = writeln!(io::stderr(), "{} has {users} users, and {advice}", self.url);
            process::exit(1);
        }
    }

    /// The path below the stage of a URL that the API gave in a link.
    ///
    /// # Panics
    ///
    /// If the URL is not one of this API.
    #[must_use]
    pub fn path_of<'a>(&self, url: &'a str) -> &'a str {
        let stage = self.url.parse::<Uri>().expect("a URL");
        url.strip_prefix(stage.path().trim_end_matches('/'))
            .unwrap_or_else(|| panic!("{url} is not below {stage}"))
    }

    /// Reads. Paths are below the stage, percent-encoded, with their query.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    /// Posts a body.
    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(Method::POST, path, body).await
    }

    /// Puts a body.
    pub async fn put(&self, path: &str, body: &str) -> Reply {
        self.send(Method::PUT, path, body).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, "").await
    }

    /// Sends a request.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn send(&self, method: Method, path: &str, body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let mut request = request.body(Body::from(body)).expect("a request");
        if self.service.is_none() {
            authenticate(&mut request);
        }
        let response = self
            .client
            .request(request)
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.url));
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the whole response").to_bytes();
        Reply::new(
            parts.status.as_u16(),
            parts.headers,
            String::from_utf8(body.to_vec()).expect("UTF-8"),
        )
    }
}

fn client() -> Client<HttpsConnector<HttpConnector>, Body> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .expect("root certificates")
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}
