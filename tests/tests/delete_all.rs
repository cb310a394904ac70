//! How `DELETE /users` copes with a table that is large, or that DynamoDB throttles.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Api, Reply, ScriptedResponse, ScriptedServer};

/// How many ids a page has without a limit.
const PAGE: usize = 1000;

/// How many partitions the table has.
const PARTITIONS: usize = 40;

/// A table of users, of which a deletion needs only the ids.
#[derive(Default)]
struct Users {
    /// The partition and the number of each user.
    left: BTreeSet<(usize, usize)>,
    deleted: usize,
    batches: usize,
    throttled: usize,
    /// The partitions of the users in each batch that was processed.
    partitions: Vec<HashSet<usize>>,
    /// How many users may be deleted in a second and at once, and how many may be now.
    maximum: Option<f64>,
    tokens: f64,
    refilled: Option<Instant>,
    /// How many scans are still to be throttled.
    throttled_scans: usize,
    /// After how many batches DynamoDB fails.
    fails_after: Option<usize>,
}

/// A scripted server with a table, and the API on it.
struct Fixture {
    users: Arc<Mutex<Users>>,
    api: Api,
    _dynamodb: ScriptedServer,
}

impl Fixture {
    async fn start(count: usize, timeout: Duration, change: impl FnOnce(&mut Users)) -> Self {
        let mut users = Users {
            left: (0..count).map(|i| (i % PARTITIONS, i)).collect(),
            ..Users::default()
        };
        change(&mut users);
        let users = Arc::new(Mutex::new(users));
        let shared = Arc::clone(&users);
        let dynamodb = ScriptedServer::start(move |operation, request| {
            let mut users = shared.lock().expect("no script panics");
            match operation {
                "Scan" => users.scan(request),
                _ => users.delete(request),
            }
        })
        .await;
        let api = Api::with_timeout(dynamodb.endpoint(), timeout).await;
        Self {
            users,
            api,
            _dynamodb: dynamodb,
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().expect("no script panics")
    }
}

/// Asserts that a deletion ran out of time, and says exactly how many users it deleted.
#[track_caller]
fn assert_incomplete(reply: &Reply, deleted: usize) {
    reply.assert_error(503, "DeleteIncomplete");
    let count = format!("after {deleted} users");
    assert!(reply.message().contains(&count), "{count}: {}", reply.text);
}

impl Users {
    fn scan(&mut self, request: &Value) -> ScriptedResponse {
        if self.throttled_scans > 0 {
            self.throttled_scans -= 1;
            return ScriptedResponse::Error(400, "ThrottlingException");
        }
        let number = |name: &str| {
            request[name]
                .as_u64()
                .map(|n| usize::try_from(n).expect("a size"))
        };
        let (segment, segments) = (number("Segment"), number("TotalSegments"));
        let limit = number("Limit").unwrap_or(PAGE);
        let start = request["ExclusiveStartKey"]["id"]["S"].as_str().map(parse);
        let mut ids = self
            .left
            .iter()
            .filter(|user| segments.is_none_or(|count| Some(user.0 % count) == segment))
            .filter(|user| start.is_none_or(|start| **user > start));
        let page: Vec<_> = ids.by_ref().take(limit).map(id).collect();
        let mut response = json!({
            "Items": page.iter().map(|id| json!({"id": {"S": id}})).collect::<Vec<_>>(),
            "Count": page.len(),
        });
        if ids.next().is_some() {
            response["LastEvaluatedKey"] = json!({"id": {"S": page.last()}});
        }
        ScriptedResponse::Json(200, response)
    }

    fn delete(&mut self, request: &Value) -> ScriptedResponse {
        self.batches += 1;
        if self
            .fails_after
            .is_some_and(|batches| self.batches > batches)
        {
            return ScriptedResponse::Error(400, "AccessDeniedException");
        }
        let requests = request["RequestItems"]["user-profiles"]
            .as_array()
            .expect("a batch");
        let allowed = self.take_tokens(requests.len());
        if allowed == 0 {
            self.throttled += 1;
            return ScriptedResponse::Error(400, "ProvisionedThroughputExceededException");
        }
        let (processed, left) = requests.split_at(allowed);
        let users: Vec<_> = processed
            .iter()
            .map(|request| {
                parse(
                    request["DeleteRequest"]["Key"]["id"]["S"]
                        .as_str()
                        .expect("an id"),
                )
            })
            .collect();
        self.partitions
            .push(users.iter().map(|user| user.0).collect());
        for user in users {
            self.deleted += usize::from(self.left.remove(&user));
        }
        let unprocessed = match left {
            [] => json!({}),
            left => json!({"user-profiles": left}),
        };
        ScriptedResponse::Json(200, json!({"UnprocessedItems": unprocessed}))
    }

    /// Returns how many of these writes may be processed now.
    fn take_tokens(&mut self, wanted: usize) -> usize {
        let Some(maximum) = self.maximum else {
            return wanted;
        };
        let now = Instant::now();
        let elapsed = self
            .refilled
            .replace(now)
            .map_or(1.0, |then| (now - then).as_secs_f64());
        self.tokens = maximum.min(self.tokens + maximum * elapsed);
        let allowed =
            (1..=wanted).take_while(|n| f64::from(u32::try_from(*n).expect("few")) <= self.tokens);
        let allowed = allowed.count();
        self.tokens -= f64::from(u32::try_from(allowed).expect("few"));
        allowed
    }
}

fn id(user: &(usize, usize)) -> String {
    format!("{}-{}", user.0, user.1)
}

fn parse(id: &str) -> (usize, usize) {
    let (partition, number) = id.split_once('-').expect("an id of this suite");
    (
        partition.parse().expect("a number"),
        number.parse().expect("a number"),
    )
}

#[tokio::test]
async fn a_throttled_deletion_goes_on_while_time_is_left() {
    let timeout = Duration::from_secs(28);
    let fixture = Fixture::start(6000, timeout, |users| users.maximum = Some(500.0)).await;
    fixture
        .api
        .delete("/users")
        .await
        .assert_is(200, &Value::Null);
    let users = fixture.users();
    assert_eq!((users.left.len(), users.deleted), (0, 6000));
    // The fewest batches are 240.
    assert!(users.batches < 700, "{} batches", users.batches);
}

#[tokio::test]
async fn a_deletion_without_time_says_how_many_users_it_deleted() {
    let timeout = Duration::from_secs(6);
    let fixture = Fixture::start(6000, timeout, |users| users.maximum = Some(400.0)).await;
    let reply = fixture.api.delete("/users").await;
    let deleted = fixture.users().deleted;
    assert!((500..5000).contains(&deleted), "{deleted}");
    assert_incomplete(&reply, deleted);

    fixture.users().maximum = None;
    fixture
        .api
        .delete("/users")
        .await
        .assert_is(200, &Value::Null);
    assert_eq!(fixture.users().deleted, 6000);
}

#[tokio::test]
async fn a_throttled_page_does_not_end_a_deletion() {
    let timeout = Duration::from_secs(28);
    let fixture = Fixture::start(3000, timeout, |users| users.throttled_scans = 7).await;
    fixture
        .api
        .delete("/users")
        .await
        .assert_is(200, &Value::Null);
    assert_eq!(fixture.users().deleted, 3000);
}

#[tokio::test]
async fn a_failure_leaves_the_number_of_deleted_users() {
    let timeout = Duration::from_secs(28);
    let fixture = Fixture::start(3000, timeout, |users| users.fails_after = Some(60)).await;
    let reply = fixture.api.delete("/users").await;
    let deleted = fixture.users().deleted;
    assert_eq!(deleted, 1500);
    assert_incomplete(&reply, deleted);
}

#[tokio::test]
async fn a_large_table_is_deleted_from_all_partitions_at_once() {
    let fixture = Fixture::start(40_000, Duration::from_secs(28), |_| {}).await;
    fixture
        .api
        .delete("/users")
        .await
        .assert_is(200, &Value::Null);
    let users = fixture.users();
    assert_eq!(users.deleted, 40_000);
    // The first page and the last users come from a few partitions.
    let batches = &users.partitions[100..users.partitions.len() - 200];
    for second in batches.chunks_exact(40) {
        let partitions: HashSet<_> = second.iter().flatten().collect();
        assert!(partitions.len() > PARTITIONS / 2, "{partitions:?}");
    }
}
