//! An API over HTTP: a deployed one, or a local service that only this test uses.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex as StdMutex};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use lambda_http::Body;
use lambda_http::http::{Method, Request, Uri};
use local::{Database, InvokeError, Options, Service};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;
use users_core::TABLE_VARIABLE;
use uuid::Uuid;

use crate::auth::authenticate;
use crate::client::{Client, percent_encoded};
use crate::specification::assert_documented;
use crate::{
    Operation, Reply, ScriptedResponse, ScriptedServer, executables, operations, template,
    template_with_variables,
};

/// Makes tests take turns at a deployed API, so that they stay below its throttle.
static TURN: Mutex<()> = Mutex::const_new(());

/// An API to send requests to.
///
/// At a deployed API, a test shares the table with others, and must leave their users alone. It
/// uses ids and email addresses that no other client uses, and [`Api::share`] deletes the users
/// that it created.
pub struct Api {
    url: String,
    client: Client,
    service: Option<Service>,
    /// What the functions of the local service print.
    log: Option<UnboundedReceiver<String>>,
    /// Part of every id and email address of this test.
    unique: Uuid,
    /// The ids of the users that this test created.
    created: StdMutex<BTreeSet<String>>,
    /// Held until the test ends.
    turn: Option<MutexGuard<'static, ()>>,
}

impl Api {
    /// Returns the API at the URL in the environment variable `API_ENDPOINT`, or a new local
    /// service if the variable is unset. This is for tests that create no users; others use
    /// [`Api::share`].
    pub async fn shared() -> Self {
        match endpoint() {
            Some(url) => Self::deployed(&url).await,
            None => Self::local(Database::Memory).await,
        }
    }

    /// Runs a test on the API of [`Api::shared`], whose table other clients may use at the same
    /// time. When the test ends, even by a panic, the users that it created are deleted.
    pub async fn share(test: impl AsyncFnOnce(&Self)) {
        let api = Self::shared().await;
        let result = AssertUnwindSafe(test(&api)).catch_unwind().await;
        if api.service.is_none() {
            api.delete_created().await;
        }
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }

    /// Returns an API whose users may all be deleted: a new local service, or with `WIPE=1` the API
    /// at `API_ENDPOINT`, whose users this deletes.
    pub async fn own() -> Self {
        match endpoint() {
            Some(url) if env::var("WIPE").as_deref() == Ok("1") => {
                let api = Self::deployed(&url).await;
                assert_eq!(api.delete("/users").await.status, 200);
                api
            }
            _ => Self::local(Database::Memory).await,
        }
    }

    async fn deployed(url: &str) -> Self {
        let url = url.trim().trim_end_matches('/');
        let parsed = url.parse::<Uri>().ok();
        let is_url = parsed.is_some_and(|url| {
            url.host().is_some() && ["http", "https"].map(Some).contains(&url.scheme_str())
        });
        assert!(
            is_url,
            "API_ENDPOINT={url} is not a URL such as https://example.com/test"
        );
        let turn = TURN.lock().await;
        let mut api = Self::at(url.to_owned());
        api.turn = Some(turn);
        api
    }

    fn at(url: String) -> Self {
        Self {
            url,
            client: Client::default(),
            service: None,
            log: None,
            unique: Uuid::new_v4(),
            created: StdMutex::default(),
            turn: None,
        }
    }

    /// Starts a local service that keeps its users in this database.
    pub async fn local(database: Database) -> Self {
        let options = Options::new(template(), executables().to_owned());
        Self::start(Options {
            database,
            ..options
        })
        .await
    }

    /// Starts a local service that keeps its users in a table of the DynamoDB at this URL.
    pub async fn on(endpoint: &str, table: &str) -> Self {
        Self::start(Self::options(endpoint, table)).await
    }

    /// Starts a local service on a new DynamoDB server that follows this script.
    pub async fn scripted(
        script: impl FnMut(&str, &Value) -> ScriptedResponse + Send + 'static,
    ) -> (ScriptedServer, Self) {
        let dynamodb = ScriptedServer::start(script).await;
        let api = Self::on(dynamodb.endpoint(), "user-profiles").await;
        (dynamodb, api)
    }

    /// Starts a local service on a new DynamoDB server that always responds in this way.
    pub async fn always(response: ScriptedResponse) -> (ScriptedServer, Self) {
        Self::scripted(move |_, _| response.clone()).await
    }

    /// Starts a local service on the DynamoDB server at this URL, whose functions have this timeout.
    pub async fn with_timeout(endpoint: &str, timeout: Duration) -> Self {
        let mut options = Self::options(endpoint, "user-profiles");
        for function in options.template.functions.values_mut() {
            function.timeout = timeout;
        }
        Self::start(options).await
    }

    /// Starts a local service whose functions have these environment variables.
    pub async fn with_variables(variables: &[(&str, &str)]) -> Self {
        let template = template_with_variables(variables);
        Self::start(Options::new(template, executables().to_owned())).await
    }

    /// Returns options for a local service on a table of the DynamoDB at this URL. Each function
    /// has one process, so the one that encountered a fault also serves the next request.
    pub fn options(endpoint: &str, table: &str) -> Options {
        let mut template = template_with_variables(&[(TABLE_VARIABLE, table)]);
        table.clone_into(&mut template.table.name);
        Options {
            database: Database::Endpoint(endpoint.to_owned()),
            instances: 1,
            ..Options::new(template, executables().to_owned())
        }
    }

    /// Starts a local service with these options, but without the stage's throttle. If the test
    /// fails, what the functions printed is shown.
    pub async fn start(mut options: Options) -> Self {
        options.template.throttle = None;
        options.template.key_throttle = None;
        for route in &mut options.template.routes {
            route.throttle = None;
        }
        let (lines, log) = unbounded_channel();
        let logs = options.logs;
        options.logs = Arc::new(move |function, line| {
            logs(function, line);
            // Fails only if the test has ended.
            let _ = lines.send(line.to_owned());
        });
        let service = Service::start(options).await.expect("a local service");
        let mut api = Self::at(service.url().to_owned());
        api.service = Some(service);
        api.log = Some(log);
        api
    }

    /// Returns the URL of the stage.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns an id that contains this one, and that no other test or client uses.
    pub fn id(&self, id: &str) -> String {
        format!("test-{}-{id}", self.unique)
    }

    /// Returns an email address with this name that no other test or client uses.
    pub fn email(&self, name: &str) -> String {
        format!("{name}@{}.example.com", self.unique)
    }

    /// Returns the users in a list whose ids belong to this test.
    pub fn mine(&self, list: &Reply) -> Vec<Value> {
        let prefix = self.id("");
        let mut users = list.users();
        users.retain(|user| {
            user["id"]
                .as_str()
                .is_some_and(|id| id.starts_with(&prefix))
        });
        users
    }

    /// Returns the local service.
    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("a local service")
    }

    /// Returns how many processes the local service has started.
    pub fn processes_started(&self) -> usize {
        self.service().processes_started()
    }

    /// Invokes the function of the local service with this logical id.
    ///
    /// # Errors
    ///
    /// If the function does not respond, or reports an error instead.
    pub async fn invoke(&self, function: &str, event: &str) -> Result<Reply, InvokeError> {
        let response = self.service().invoke(function, event.to_owned()).await?;
        let request = format!("{function} {event}");
        Ok(Reply::from_function(&request, &response))
    }

    /// Stops the local service, if the API is one.
    pub async fn stop(mut self) {
        if let Some(service) = self.service.take() {
            service.stop().await;
        }
    }

    /// Stops the local service, so that its log is complete, and returns the lines of the log.
    pub async fn into_log(mut self) -> Vec<String> {
        let mut log = self.log.take().expect("a local service");
        self.stop().await;
        // The channel closes when the output of all functions has been read.
        let mut lines = Vec::new();
        while let Some(line) = log.recv().await {
            lines.push(line);
        }
        lines
    }

    /// Stops the local service, and returns the lines about requests from its log, which is in
    /// JSON.
    pub async fn into_request_lines(self) -> Vec<Value> {
        let mut lines: Vec<Value> = Vec::new();
        for line in self.into_log().await {
            lines.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")));
        }
        lines.retain(|line| line["message"] == "request");
        lines
    }

    async fn delete_created(&self) {
        let created = std::mem::take(&mut *self.created.lock().expect("no panic"));
        for id in created {
            let path = format!("/users/{}", percent_encoded(&id));
            let reply = self.delete(&path).await;
            let is_gone = reply.status == 200 || reply.json()["code"] == "UserNotFound";
            assert!(is_gone, "a user of this test is left: {reply}");
        }
    }

    /// Sends a `GET`. The path is below the stage, percent-encoded, with its query.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    /// Sends a `GET`, and follows the links to all further pages.
    pub async fn pages(&self, path: &str) -> Vec<Reply> {
        let mut pages = vec![self.get(path).await];
        // A link consists of the query alone.
        let path = path.split('?').next().unwrap_or_default();
        while let Some(query) = pages.last().and_then(Reply::next_url) {
            pages.push(self.get(&format!("{path}{query}")).await);
        }
        pages
    }

    /// Returns the users with an email address as soon as there are some. The index may lag behind a
    /// write for a moment, and each request gives it time to catch up.
    pub async fn found(&self, email: &str) -> Value {
        let path = format!("/users?email={}", percent_encoded(email));
        let mut found = json!([]);
        for _ in 0..100 {
            found = self.get(&path).await.json();
            if found != json!([]) {
                break;
            }
        }
        found
    }

    /// Sends a `POST`, and remembers the user that this may create. A deployed table has a maximum
    /// of write units, so after a 503, this waits as long as the response says and tries again, up
    /// to twenty times.
    pub async fn post(&self, path: &str, body: impl Display) -> Reply {
        let body = body.to_string();
        let remember = |id: &str| self.created.lock().expect("no panic").insert(id.to_owned());
        let user: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(id) = user["id"].as_str()
            && id.starts_with(&self.id(""))
        {
            remember(id);
        }
        let mut reply = self.send(Method::POST, path, &body).await;
        // A local service has no transient faults, and tests check its 503s.
        let tries = if self.service.is_some() { 0 } else { 20 };
        for _ in 0..tries {
            let seconds = reply.header("retry-after").map(str::parse);
            let Some(Ok(seconds)) = seconds else {
                break;
            };
            sleep(Duration::from_secs(seconds)).await;
            reply = self.send(Method::POST, path, &body).await;
        }
        if let (200, Some(id)) = (reply.status, reply.json()["id"].as_str()) {
            remember(id);
        }
        reply
    }

    /// Sends a `PUT`.
    pub async fn put(&self, path: &str, body: impl Display) -> Reply {
        self.send(Method::PUT, path, &body.to_string()).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, "").await
    }

    /// Sends a valid request of an operation. If the operation is on one user, it is this one.
    pub async fn request(&self, operation: &Operation, id: &str) -> Reply {
        let method = operation.method.parse().expect("a method");
        let body = operation.has_body.then(|| json!({"id": id}).to_string());
        let path = operation.path.replace("{id}", &percent_encoded(id));
        self.send(method, &path, &body.unwrap_or_default()).await
    }

    /// Sends the requests of all operations at once, as [`Api::request`] does.
    pub async fn request_each(&self, id: &str) -> Vec<(&'static Operation, Reply)> {
        let request = async |operation| (operation, self.request(operation, id).await);
        join_all(operations().iter().map(request)).await
    }

    /// Sends a request with this trace header.
    pub async fn send_traced(&self, method: Method, path: &str, body: &str, trace: &str) -> Reply {
        let mut request = self.build(method, path, body);
        request
            .headers_mut()
            .insert("x-amzn-trace-id", trace.try_into().expect("a header"));
        self.perform(request).await
    }

    /// Sends a request.
    pub async fn send(&self, method: Method, path: &str, body: &str) -> Reply {
        self.perform(self.build(method, path, body)).await
    }

    fn build(&self, method: Method, path: &str, body: &str) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        request.body(Body::from(body)).expect("a request")
    }

    async fn perform(&self, mut request: Request<Body>) -> Reply {
        let mut name = format!("{} {}", request.method(), request.uri());
        if self.service.is_none() {
            name += ", with the host from API_ENDPOINT";
            authenticate(&mut request);
        }
        let response = self.client.send(request.clone()).await;
        let response = response.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (parts, text) = response.into_parts();
        let reply = Reply::new(&name, parts.status.as_u16(), parts.headers, text);
        let stage = self.url.parse::<Uri>().expect("a URL");
        let path = request.uri().path().strip_prefix(stage.path());
        assert_documented(path.unwrap_or_default(), &request, &reply);
        reply
    }
}

impl Drop for Api {
    /// Prints what the functions logged, if the test fails.
    fn drop(&mut self) {
        if let (true, Some(log)) = (thread::panicking(), &mut self.log) {
            while let Ok(line) = log.try_recv() {
                eprintln!("{line}");
            }
        }
    }
}

fn endpoint() -> Option<String> {
    env::var("API_ENDPOINT")
        .ok()
        .filter(|url| !url.trim().is_empty())
}
