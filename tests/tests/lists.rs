//! How much of the table a list reads, how much memory that takes, and how large a page may be.

use serde_json::{Value, json};
use tests::{Api, Process, Table, engine};

/// The maximum memory that a function may take, in bytes.
const MEMORY: u64 = 64 * 1024 * 1024;

/// The maximum size of a response that Lambda's Runtime API accepts, in bytes.
const RESPONSE: usize = 6_291_556;

/// An API on a table of its own.
struct Fixture {
    api: Api,
    table: Table,
}

impl Fixture {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let table = Table::new().await;
        let mut all = vec![
            ("DYNAMO_ENDPOINT", engine()),
            ("USERS_TABLE", table.name()),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        all.extend(variables);
        Self {
            api: Api::with_variables(&all).await,
            table,
        }
    }

    /// Asserts that a function has not taken more than the limit, without the pages of its
    /// executable, which is several times larger in a debug build.
    fn assert_small(&self, executable: &str, case: &str) {
        let Some(process) = Process::find(executable, self.table.name()) else {
            return;
        };
        if let (Some(peak), Some(file)) = (process.peak_memory(), process.file_memory()) {
            let own = peak - file;
            assert!(own <= MEMORY, "{case}: {executable} took {own} bytes");
        }
    }
}

/// Returns the size of a user of strings and numbers of one byte, as DynamoDB counts it.
fn size(user: &Value) -> usize {
    let members = user.as_object().expect("a user").iter();
    members
        .map(|(name, value)| name.len() + value.as_str().map_or(2, str::len))
        .sum()
}

/// Asserts that a list of these users, and their deletion, read each user about once.
async fn assert_read_once(users: Vec<Value>) {
    let bytes: usize = users.iter().map(size).sum();
    let pages = bytes.div_ceil(1024 * 1024);
    let fixture = Fixture::start(&[]).await;
    fixture.table.put_all(&users).await;

    let list = fixture.api.get("/users").await;
    assert_eq!(list.status, 200, "{}", list.text);
    assert_eq!(list.json().as_array().map(Vec::len), Some(users.len()));
    fixture.assert_small("get-all", "small users");
    let lines = fixture.api.into_request_lines().await;
    let calls = lines[0]["dynamodb_calls"].as_u64().expect("a number");
    let units = lines[0]["read_units"].as_f64().expect("a number");
    assert!(
        calls <= 2 * pages as u64 + 4,
        "{calls} calls for {pages} pages"
    );
    let least = f64::from(u32::try_from(bytes).expect("a small table")) / 4096.0;
    assert!(units < 1.9 * least + 8.0, "{units} units, at least {least}");
}

#[tokio::test]
async fn a_list_of_small_users_reads_each_about_once() {
    let user = |i| json!({"id": format!("u{i:05}"), "age": 4, "vip": "t", "lang": "en"});
    assert_read_once((0..60_000).map(user).collect()).await;
}

#[tokio::test]
async fn a_list_of_the_smallest_users_reads_each_about_once() {
    let user = |i| json!({"id": format!("{i:x}")});
    assert_read_once((0..150_000).map(user).collect()).await;
}

/// Returns a value of some 400 KB that expands as far as possible.
fn repeated(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

#[tokio::test]
async fn every_user_that_can_be_stored_can_be_read() {
    for (element, count) in [
        (r#"{"a":{}}"#, 45_504),
        (r#"{"a":""}"#, 68_256),
        (r#"[""]"#, 81_900),
        ("1e125", 136_500),
    ] {
        let fixture = Fixture::start(&[]).await;
        let api = &fixture.api;
        let body = |id| format!(r#"{{"id":"{id}","v":{}}}"#, repeated(element, count));
        for (executable, reply) in [
            ("post", api.post("/users", &body("1")).await),
            ("post", api.post("/users", &body("2")).await),
            ("put", api.put("/users/1", &body("1")).await),
            ("get", api.get("/users/1").await),
            ("get-all", api.get("/users").await),
            ("delete", api.delete("/users/1").await),
        ] {
            assert_eq!(reply.status, 200, "{executable}, {element}: {}", reply.text);
            fixture.assert_small(executable, element);
        }
    }
}

#[tokio::test]
async fn a_page_fills_a_response_but_never_exceeds_it() {
    let origins = "https://a.example,https://b.example";
    let fixture = Fixture::start(&[("CORS_ALLOW_ORIGIN", origins)]).await;
    let id = |i: usize| format!("{i:04}{}", "\"".repeat(2044));
    let user = |i| json!({"id": id(i), "text": "\"".repeat(1024)});
    let users: Vec<_> = (0..700).map(user).collect();
    fixture.table.put_all(&users).await;
    let api = &fixture.api;
    let page = api.get("/users?limit=1000").await;
    let bytes = page.bytes_on_lambda();
    let one = json!(user(0).to_string()).to_string().len();
    assert!(bytes <= RESPONSE, "{bytes}");
    // The cursor can be longer than this page's, and the headers can take a kilobyte.
    assert!(bytes > RESPONSE - one - 1024, "{bytes}");
    assert!(page.next_url().is_some());

    let all = api.pages("/users?limit=1000").await;
    let count: usize = all
        .iter()
        .map(|page| page.json().as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(count, users.len());
    api.get("/users")
        .await
        .assert_error(400, "ResponseTooLarge");
}
