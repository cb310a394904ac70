//! How `DELETE /users` copes with a table that is large, or that DynamoDB throttles.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, ScriptedServer, deleted_ids};

/// How many ids a page has without a limit.
const PAGE: usize = 1000;

/// How many partitions the table has.
const PARTITIONS: usize = 40;

/// A table of users, of which a deletion needs only the ids.
#[derive(Default)]
struct Users {
    /// The ids in each partition, which begin with two digits for it.
    left: Vec<BTreeSet<String>>,
    deleted: usize,
    /// The ids in each batch that was processed.
    batches: Vec<Vec<String>>,
    /// How many batches there were in all.
    requests: usize,
    /// How many users may be deleted in a second and at once.
    maximum: Option<u128>,
    /// When the last batch came, and how many deletions it left, in millionths.
    tokens: Option<(Instant, u128)>,
    /// How many scans are still to be throttled.
    throttled_scans: usize,
    /// Whether the response to a batch takes a moment.
    is_slow: bool,
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
    async fn start(count: usize, timeout: u64, change: impl FnOnce(&mut Users)) -> Self {
        let mut users = Users {
            left: vec![BTreeSet::new(); PARTITIONS],
            ..Users::default()
        };
        for i in 0..count {
            let partition = i % PARTITIONS;
            users.left[partition].insert(format!("{partition:02}-{i}"));
        }
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
        // The deletion itself waits.
        dynamodb.spare_waits();
        let timeout = Duration::from_secs(timeout);
        Self {
            users,
            api: Api::with_timeout(dynamodb.endpoint(), timeout).await,
            _dynamodb: dynamodb,
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().expect("no script panics")
    }

    /// Asserts that everything can be deleted.
    async fn is_deleted(&self) {
        self.api.delete("/users").await.is(&Value::Null);
        assert!(self.users().left.iter().all(BTreeSet::is_empty));
    }

    /// Asserts that a deletion does not finish, and says exactly how many users it deleted.
    async fn is_incomplete(&self) -> usize {
        let reply = self.api.delete("/users").await;
        let deleted = self.users().deleted;
        reply.fails_with("DeleteIncomplete", &format!("after {deleted} users"));
        deleted
    }
}

impl Users {
    fn scan(&mut self, request: &Value) -> ScriptedResponse {
        if self.throttled_scans > 0 {
            self.throttled_scans -= 1;
            return ScriptedResponse::Error(400, "ThrottlingException");
        }
        let number = |name: &str| request[name].as_u64().map(usize::try_from);
        let number = |name: &str| number(name).map(|number| number.expect("a size"));
        let (segment, segments) = (number("Segment"), number("TotalSegments"));
        let start = request["ExclusiveStartKey"]["id"]["S"].as_str();
        let range = (start.map_or(Unbounded, Excluded), Unbounded);
        let mut ids = (0..PARTITIONS)
            .filter(|own| segments.is_none_or(|count| Some(own % count) == segment))
            .flat_map(|own| self.left[own].range::<str, _>(range));
        let page: Vec<_> = ids.by_ref().take(number("Limit").unwrap_or(PAGE)).collect();
        let items: Vec<_> = page.iter().map(|id| json!({"id": {"S": id}})).collect();
        let mut response = json!({"Items": items, "Count": page.len()});
        if ids.next().is_some() {
            response["LastEvaluatedKey"] = json!({"id": {"S": page.last()}});
        }
        ScriptedResponse::Json(200, response)
    }

    fn delete(&mut self, request: &Value) -> ScriptedResponse {
        self.requests += 1;
        if self
            .fails_after
            .is_some_and(|batches| self.requests > batches)
        {
            return ScriptedResponse::Error(400, "AccessDeniedException");
        }
        let ids = deleted_ids(request);
        let allowed = self.take_tokens(ids.len());
        if allowed == 0 {
            return ScriptedResponse::Error(400, "ProvisionedThroughputExceededException");
        }
        let processed = ids[..allowed].iter().map(|&id| id.to_owned());
        self.batches.push(processed.collect());
        for id in &ids[..allowed] {
            self.deleted += usize::from(self.left[partition(id)].remove(*id));
        }
        let requests = request["RequestItems"]["user-profiles"].as_array();
        let unprocessed = match requests.map(|requests| &requests[allowed..]) {
            None | Some([]) => json!({}),
            Some(left) => json!({"user-profiles": left}),
        };
        let response = json!({"UnprocessedItems": unprocessed});
        if self.is_slow {
            let body = response.to_string().into_bytes();
            return ScriptedResponse::Late(Duration::from_millis(700), body);
        }
        ScriptedResponse::Json(200, response)
    }

    /// Returns how many of these writes may be processed now.
    fn take_tokens(&mut self, wanted: usize) -> usize {
        const MILLION: u128 = 1_000_000;
        let Some(maximum) = self.maximum else {
            return wanted;
        };
        let now = Instant::now();
        let full = maximum * MILLION;
        let tokens = self.tokens.map_or(full, |(then, tokens)| {
            full.min(tokens + maximum * (now - then).as_micros())
        });
        let allowed = wanted.min(usize::try_from(tokens / MILLION).expect("a few"));
        self.tokens = Some((now, tokens - allowed as u128 * MILLION));
        allowed
    }
}

fn partition(id: &str) -> usize {
    id[..2].parse().expect("two digits")
}

#[tokio::test]
async fn a_throttled_deletion_goes_on_while_time_is_left() {
    let fixture = Fixture::start(3000, 28, |users| {
        users.maximum = Some(500);
        users.throttled_scans = 7;
    })
    .await;
    fixture.is_deleted().await;
    let users = fixture.users();
    assert_eq!(users.deleted, 3000);
    // The fewest batches are 120.
    assert!(users.requests < 400, "{} batches", users.requests);
}

#[tokio::test]
async fn a_deletion_without_time_says_how_many_users_it_deleted() {
    let fixture = Fixture::start(5000, 6, |users| {
        users.maximum = Some(400);
        users.is_slow = true;
    })
    .await;
    let deleted = fixture.is_incomplete().await;
    assert!((500..4000).contains(&deleted), "{deleted}");
    fixture.users().maximum = None;
    fixture.users().is_slow = false;
    fixture.is_deleted().await;
    assert_eq!(fixture.users().deleted, 5000);
}

#[tokio::test]
async fn a_failure_leaves_the_number_of_deleted_users() {
    let fixture = Fixture::start(3000, 28, |users| users.fails_after = Some(60)).await;
    assert_eq!(fixture.is_incomplete().await, 60 * 25);
}

#[tokio::test]
async fn a_large_table_is_deleted_from_all_partitions_at_once() {
    let fixture = Fixture::start(25_000, 28, |_| {}).await;
    fixture.is_deleted().await;
    let users = fixture.users();
    // The first page and the last users come from a few partitions.
    let batches = &users.batches[100..users.batches.len() - 200];
    for second in batches.chunks_exact(40) {
        let partitions: HashSet<_> = second.iter().flatten().map(|id| partition(id)).collect();
        assert!(partitions.len() > PARTITIONS / 2, "{partitions:?}");
    }
}
