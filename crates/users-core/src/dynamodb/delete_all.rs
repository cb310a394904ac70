//! The deletion of all users: pages of ids are read, and batches of them are deleted, concurrently.
//!
//! The SDK's three attempts are for one call. A deletion has its own patience: what DynamoDB
//! throttles is sent again while time is left.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::calls::count_deleted;
use super::pages::Pages;
use super::store::Store;
use crate::error::Error;
use crate::user::User;

/// The maximum number of keys in one `BatchWriteItem`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>).
const BATCH: usize = 25;

/// How many batches are sent at once, at most.
const MOST_BATCHES: f64 = 16.0;

/// How many segments of a table with several pages are read in turn. A page of a segment comes from
/// one partition, which takes 1,000 writes a second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>).
/// One function deletes no more than 32,000 users a second.
const SEGMENTS: i32 = 32;

/// How many ids are read from a segment before another has its turn, so that batches contain ids of
/// many partitions.
const IDS_AT_A_TIME: usize = 500;

/// How many pages are read at once.
const MOST_READS: usize = 4;

/// How many ids may wait for their deletion before more are read: a page of each segment, and at
/// most 33 MB.
const MOST_WAITING: usize = 16_000;

/// How long to wait after DynamoDB throttled a call: at first, and at most. The wait doubles each
/// time, with full jitter
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.BatchOperations>).
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long before its deadline a deletion stops sending requests, so that those in flight end in
/// time.
const WIND_UP: Duration = Duration::from_secs(2);

/// Deletes all users of a store. See [`Store::delete_all`].
pub(super) async fn delete_all(store: &Store, deadline: Instant) -> Result<(), Error> {
    let mut deletion = Deletion::new(store, deadline - WIND_UP);
    // A failure at the deadline is one of time.
    let _ = timeout_at(deadline, deletion.run()).await;
    match deletion.failure {
        None if deletion.is_complete => Ok(()),
        Some(error) if deletion.deleted == 0 => Err(error),
        failure => Err(Error::DeleteIncomplete {
            deleted: deletion.deleted,
            source: failure.map(Into::into),
        }),
    }
}

/// How far a deletion has come.
struct Deletion<'a> {
    store: &'a Store,
    /// When to begin nothing new.
    stop: Instant,
    /// The lists of ids that have further pages, the next one to read first.
    lists: VecDeque<Pages>,
    /// The ids of users that are to be deleted.
    ids: Vec<String>,
    pace: Pace,
    deleted: usize,
    /// Why nothing more is sent, if DynamoDB failed.
    failure: Option<Error>,
    is_complete: bool,
}

/// A list, and its next page.
type Read = (Pages, Result<Option<Vec<User>>, Error>);

/// The ids of a batch, and those of them that are left.
type Deleted = (Vec<String>, Result<Vec<String>, Error>);

impl<'a> Deletion<'a> {
    fn new(store: &'a Store, stop: Instant) -> Self {
        count_deleted(0);
        Self {
            store,
            stop,
            lists: VecDeque::new(),
            ids: Vec::new(),
            pace: Pace::new(),
            deleted: 0,
            failure: None,
            is_complete: false,
        }
    }

    /// Deletes all users, or as many as time and DynamoDB allow.
    async fn run(&mut self) {
        // Most tables have one page. Reading segments takes a call for each.
        self.lists
            .push_back(Pages::of_scan(self.store.scan_ids(), None));
        let has_segments = self.delete_listed(None).await;
        // The users of the first page are gone, so the segments do not contain them again.
        if has_segments && self.has_deleted_listed() {
            let scan = self.store.scan_ids().total_segments(SEGMENTS);
            for segment in 0..SEGMENTS {
                let scan = scan.clone().segment(segment);
                self.lists.push_back(Pages::of_scan(scan, None));
            }
            self.delete_listed(Some(IDS_AT_A_TIME)).await;
        }
        self.is_complete = self.has_deleted_listed();
    }

    /// Deletes the users in the lists, which are read in turn with this limit. Without a limit,
    /// only reads the first page of each, and returns whether any has more.
    async fn delete_listed(&mut self, limit: Option<usize>) -> bool {
        let mut has_more = false;
        let mut reads = FuturesUnordered::new();
        let mut batches = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let has_stopped = self.failure.is_some() || now >= self.stop;
            let may_send = !has_stopped && now >= self.pace.resume;
            while may_send
                && reads.len() < MOST_READS
                && self.ids.len() < MOST_WAITING
                && let Some(list) = self.lists.pop_front()
            {
                reads.push(read(list, limit));
            }
            while may_send
                && self.pace.allows(batches.len())
                && let Some(batch) = self.next_batch(!reads.is_empty())
            {
                batches.push(delete(self.store, batch));
            }
            if reads.is_empty() && batches.is_empty() && (has_stopped || self.has_deleted_listed())
            {
                return has_more;
            }
            tokio::select! {
                Some((list, page)) = reads.next() => match page {
                    Ok(page) => {
                        let users = page.unwrap_or_default();
                        self.ids.extend(users.iter().map(|user| user.id().to_owned()));
                        if !list.is_at_end() {
                            has_more = true;
                            self.lists.extend(limit.map(|_| list));
                        }
                    }
                    Err(error) => {
                        self.lists.push_front(list);
                        self.note(error);
                    }
                },
                Some((batch, left)) = batches.next() => match left {
                    Ok(left) => {
                        let deleted = batch.len() - left.len();
                        self.deleted += deleted;
                        count_deleted(deleted);
                        if left.is_empty() {
                            self.pace.speed_up();
                        } else {
                            self.pace.slow_down(deleted > 0);
                        }
                        self.ids.extend(left);
                    }
                    Err(error) => {
                        self.ids.extend(batch);
                        self.note(error);
                    }
                },
                () = sleep_until(self.pace.resume), if !may_send && !has_stopped => {}
                () = sleep_until(self.stop), if !has_stopped => {}
            }
        }
    }

    /// Takes the ids of a batch, at random. A batch that is not full has to wait if more ids come.
    fn next_batch(&mut self, more_come: bool) -> Option<Vec<String>> {
        if self.ids.is_empty() || more_come && self.ids.len() < BATCH {
            return None;
        }
        let count = self.ids.len().min(BATCH);
        let batch = (0..count).map(|_| {
            let index = fastrand::usize(..self.ids.len());
            self.ids.swap_remove(index)
        });
        Some(batch.collect())
    }

    /// Slows down if DynamoDB throttled a call. Stops if it failed in another way.
    fn note(&mut self, error: Error) {
        match error {
            Error::Throttled(_) => self.pace.slow_down(false),
            error => {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn has_deleted_listed(&self) -> bool {
        self.lists.is_empty() && self.ids.is_empty()
    }
}

async fn read(mut list: Pages, limit: Option<usize>) -> Read {
    let page = list.next(limit).await;
    (list, page)
}

async fn delete(store: &Store, batch: Vec<String>) -> Deleted {
    let left = match store.delete_batch(&batch).send().await {
        Ok(output) => store.unprocessed(output, &batch),
        Err(error) => Err(error.into()),
    };
    (batch, left)
}

/// How fast batches are sent: fewer at once while DynamoDB throttles, and more while it does not.
/// The number grows by one with each round of successes, and is halved otherwise, as in TCP
/// (RFC 5681, section 3.1).
struct Pace {
    /// How many batches may be in flight.
    window: f64,
    /// When to send again.
    resume: Instant,
    /// How long to wait after the next call that is throttled, at most.
    wait: Duration,
}

impl Pace {
    fn new() -> Self {
        Self {
            window: MOST_BATCHES,
            resume: Instant::now(),
            wait: FIRST_WAIT,
        }
    }

    fn allows(&self, in_flight: usize) -> bool {
        u32::try_from(in_flight).is_ok_and(|batches| f64::from(batches) + 1.0 <= self.window)
    }

    /// Adapts to a batch that was processed as a whole.
    fn speed_up(&mut self) {
        self.window = MOST_BATCHES.min(self.window + 1.0 / self.window);
        self.wait = FIRST_WAIT;
    }

    /// Adapts to a call that was throttled, wholly or after some progress.
    fn slow_down(&mut self, has_progressed: bool) {
        if has_progressed {
            self.wait = FIRST_WAIT;
        }
        self.window = (self.window / 2.0).max(1.0);
        self.resume = Instant::now() + self.wait.mul_f64(fastrand::f64());
        self.wait = LONGEST_WAIT.min(self.wait * 2);
    }
}
