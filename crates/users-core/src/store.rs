//! The users in their DynamoDB table. Only this file builds DynamoDB requests.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, builders::PutItemFluentBuilder};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::attempts::UnknownOutcomes;
use crate::error::Error;
use crate::fault::{fault, garbage, is_failed_condition, is_too_large, write_fault};
use crate::key::{EMAIL, ID, Item, Key};
use crate::user::User;

/// The global secondary index whose partition key is `email`, with all attributes projected.
pub const EMAIL_INDEX: &str = "email-index";

/// The maximum number of keys in one `BatchWriteItem`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>).
const BATCH: usize = 25;

/// How many batches of deletes are sent concurrently.
const BATCHES_AT_ONCE: usize = 16;

/// How many segments of a table with several pages are read concurrently to delete its users.
const SEGMENTS: i32 = 4;

/// How long before its deadline [`Store::delete_all`] stops sending requests, so that those in
/// flight end in time.
const WIND_UP: Duration = Duration::from_secs(2);

/// How long to wait before keys that DynamoDB left unprocessed are sent again: at most the first
/// duration at first, and twice as long each time up to the second, with full jitter
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.BatchOperations>).
/// A page without users is followed by the same waits, without jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What each call reports of the capacity that it consumed, for the log.
const CAPACITY: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// The users of one table.
///
/// It is cheap to clone. Every DynamoDB call ends within 20 seconds, retries included. A method
/// returns [`Error::Unavailable`] if DynamoDB throttles, fails, returns garbage, hangs or cannot be
/// reached, and [`Error::Internal`] if DynamoDB rejects the service itself, for example because its
/// table or a permission is missing.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: Arc<str>,
}

impl Store {
    /// Returns the users of the table with this name. Its partition key must be `id`, and it must
    /// have the index [`EMAIL_INDEX`].
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// Returns the user with this id. The read is strongly consistent.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`].
    pub(crate) async fn get(&self, id: &Key) -> Result<User, Error> {
        let request = self.client.get_item().table_name(&*self.table);
        let request = request.return_consumed_capacity(CAPACITY);
        let request = request
            .set_key(Some(key(id.as_str())))
            .consistent_read(true);
        match request.send().await.map_err(fault)?.item {
            Some(item) => user_with_id(item, id),
            None => Err(not_found(id.as_str())),
        }
    }

    /// Stores a user whose id is not taken. `json` is the user as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::UserAlreadyExists`], and the existing user is unchanged; [`Error::InvalidUser`] if
    /// DynamoDB finds the user too large.
    pub(crate) async fn create(&self, user: User, json: &str) -> Result<(), Error> {
        let id = user.id().to_owned();
        let unknown = UnknownOutcomes::default();
        let request = self
            .put(user)
            .condition_expression("attribute_not_exists(#id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = request
            .customize()
            .interceptor(unknown.clone())
            .send()
            .await
        else {
            return Ok(());
        };
        if !is_failed_condition(&error) {
            return Err(write_fault(error));
        }
        // An attempt whose response was lost may have stored the user that a later one found.
        let found = match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
            _ => None,
        };
        let is_own = || {
            found
                .and_then(User::from_item)?
                .to_json()
                .ok()
                .filter(|own| own == json)
        };
        if unknown.any() && is_own().is_some() {
            return Ok(());
        }
        Err(Error::UserAlreadyExists { id })
    }

    /// Replaces the user that has this user's id.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`], and nothing is stored; [`Error::UnknownOutcome`] if the user does
    /// not exist any more, but an attempt whose response was lost may have replaced it;
    /// [`Error::InvalidUser`] if DynamoDB finds the user too large.
    pub(crate) async fn replace(&self, user: User) -> Result<(), Error> {
        let id = user.id().to_owned();
        let unknown = UnknownOutcomes::default();
        let request = self.put(user).condition_expression("attribute_exists(#id)");
        match request
            .customize()
            .interceptor(unknown.clone())
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if !is_failed_condition(&error) => Err(write_fault(error)),
            Err(_) if unknown.any() => Err(Error::UnknownOutcome),
            Err(_) => Err(not_found(&id)),
        }
    }

    fn put(&self, user: User) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(user.into_item()))
            .return_consumed_capacity(CAPACITY)
            .expression_attribute_names("#id", ID)
    }

    /// Deletes the user with this id, and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`]; [`Error::UnknownOutcome`] if the user does not exist, but an
    /// attempt whose response was lost may have deleted it.
    pub(crate) async fn delete(&self, id: &Key) -> Result<User, Error> {
        let unknown = UnknownOutcomes::default();
        let request = self.client.delete_item().table_name(&*self.table);
        let request = request.return_consumed_capacity(CAPACITY);
        let request = request
            .set_key(Some(key(id.as_str())))
            .return_values(ReturnValue::AllOld)
            .customize();
        let output = request
            .interceptor(unknown.clone())
            .send()
            .await
            .map_err(fault)?;
        match output.attributes {
            Some(item) => user_with_id(item, id),
            None if unknown.any() => Err(Error::UnknownOutcome),
            None => Err(not_found(id.as_str())),
        }
    }

    /// Returns the pages of a list: of all users, or of those with an email address; after the user
    /// with the id `after`, or from the start.
    ///
    /// The list of all users is strongly consistent. The index cannot be, so a list by email
    /// address may lag behind a write.
    pub(crate) fn list(&self, email: Option<Key>, after: Option<Key>) -> Pages {
        let start = after.map(|id| {
            let mut key = key(id.as_str());
            if let Some(email) = &email {
                key.insert(
                    EMAIL.to_owned(),
                    AttributeValue::S(email.as_str().to_owned()),
                );
            }
            key
        });
        let Some(email) = email else {
            return Pages::of_scan(self.scan(), start);
        };
        let value = AttributeValue::S(email.as_str().to_owned());
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(EMAIL_INDEX);
        let query = query.return_consumed_capacity(CAPACITY);
        let query = query.key_condition_expression("#email = :email");
        let query = query.expression_attribute_names("#email", EMAIL);
        let query = query.expression_attribute_values(":email", value);
        Pages::of_query(query, email, start)
    }

    fn scan(&self) -> ScanFluentBuilder {
        let scan = self
            .client
            .scan()
            .table_name(&*self.table)
            .consistent_read(true);
        scan.return_consumed_capacity(CAPACITY)
    }

    fn scan_ids(&self) -> ScanFluentBuilder {
        self.scan()
            .projection_expression("#id")
            .expression_attribute_names("#id", ID)
    }

    /// Deletes all users that exist when it begins, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] if there was too little time before `deadline`.
    pub(crate) async fn delete_all(&self, deadline: Instant) -> Result<(), Error> {
        let progress = Progress::new(deadline - WIND_UP);
        let done = async {
            // Most tables have one page. Reading segments concurrently takes a connection for each.
            let mut pages = Pages::of_scan(self.scan_ids(), None);
            let first = pages.next(None).await?.unwrap_or_default();
            if first.is_empty() && matches!(pages.next, Next::Nothing) {
                return Ok(());
            }
            let first = stream::iter(first.into_iter().map(|user| Ok(user.id().to_owned())));
            // They are deleted before the segments are read, which would contain them again.
            self.delete_each(first.boxed(), &progress).await?;
            if matches!(pages.next, Next::From(_)) && !progress.has_stopped() {
                let scan = self.scan_ids().total_segments(SEGMENTS);
                let segments =
                    (0..SEGMENTS).map(|i| Pages::of_scan(scan.clone().segment(i), None).ids());
                self.delete_each(stream::select_all(segments).boxed(), &progress)
                    .await?;
            }
            Ok(())
        };
        match timeout_at(deadline, done).await {
            Ok(Ok(())) if !progress.has_stopped() => Ok(()),
            Ok(Err(error)) => Err(error),
            _ => Err(Error::DeleteIncomplete {
                deleted: progress.deleted.load(Relaxed),
            }),
        }
    }

    /// Deletes the users with these ids in concurrent batches.
    async fn delete_each(
        &self,
        ids: BoxStream<'static, Result<String, Error>>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let batches = ids
            .try_chunks(BATCH)
            .map_err(|error| error.1)
            .take_until(async {
                sleep_until(progress.stop).await;
                progress.stopped.store(true, Relaxed);
            });
        let delete = |ids| self.delete_batch(ids, progress);
        batches
            .try_for_each_concurrent(BATCHES_AT_ONCE, delete)
            .await
    }

    /// Deletes the users with these ids, at most [`BATCH`].
    async fn delete_batch(&self, ids: Vec<String>, progress: &Progress) -> Result<(), Error> {
        let mut left: Vec<_> = ids.iter().map(|id| delete_request(id)).collect();
        let mut backoff = BACKOFF.0;
        loop {
            let sent = left.clone();
            let request = self
                .client
                .batch_write_item()
                .request_items(&*self.table, left);
            let request = request.return_consumed_capacity(CAPACITY);
            let output = request.send().await.map_err(fault)?;
            let mut unprocessed = output.unprocessed_items.unwrap_or_default();
            left = unprocessed.remove(&*self.table).unwrap_or_default();
            if !unprocessed.is_empty() || !left.iter().all(|request| sent.contains(request)) {
                return Err(garbage());
            }
            progress
                .deleted
                .fetch_add(sent.len().saturating_sub(left.len()), Relaxed);
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() + backoff > progress.stop {
                progress.stopped.store(true, Relaxed);
                return Ok(());
            }
            sleep(backoff.mul_f64(fastrand::f64())).await;
            backoff = BACKOFF.1.min(backoff * 2);
        }
    }
}

/// How far a deletion of all users has come.
struct Progress {
    /// When to begin nothing new.
    stop: Instant,
    /// Whether `stop` came before all users were deleted.
    stopped: AtomicBool,
    /// How many users were deleted.
    deleted: AtomicUsize,
}

impl Progress {
    fn new(stop: Instant) -> Self {
        Self {
            stop,
            stopped: AtomicBool::new(false),
            deleted: AtomicUsize::new(0),
        }
    }

    fn has_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}

/// A list of users, read page by page. See [`Store::list`].
pub(crate) struct Pages {
    request: Box<PageRequest>,
    /// The email address that every user must have.
    email: Option<Key>,
    next: Next,
    /// The maximum number of items in a page, if larger pages were too large to be read.
    max_items: Option<i32>,
    /// How long to wait before the next page.
    backoff: Duration,
}

/// The items of a page, and the key of the last one if there are more.
type Page = (Vec<Item>, Option<Item>);

/// A function that requests a page: after a key or from the start, with at most this many items or
/// without a limit.
type PageRequest =
    dyn Fn(Option<Item>, Option<i32>) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync;

/// Where the next page begins.
#[derive(Debug)]
enum Next {
    /// After this key, or at the start.
    From(Option<Item>),
    /// There is no next page.
    Nothing,
}

impl Pages {
    /// Returns the pages of a scan. Scans and queries differ only in their types, but no code names
    /// both, so that an executable contains only the operations that its function uses.
    fn of_scan(scan: ScanFluentBuilder, start: Option<Item>) -> Self {
        let request = move |start, limit| {
            let scan = scan.clone().set_exclusive_start_key(start).set_limit(limit);
            async {
                let output = scan.send().await.map_err(fault)?;
                Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
            }
            .boxed()
        };
        Self::new(Box::new(request), None, start)
    }

    /// Returns the pages of a query for the users with this email address.
    fn of_query(query: QueryFluentBuilder, email: Key, start: Option<Item>) -> Self {
        let request = move |start, limit| {
            let query = query
                .clone()
                .set_exclusive_start_key(start)
                .set_limit(limit);
            async {
                let output = query.send().await.map_err(fault)?;
                Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
            }
            .boxed()
        };
        Self::new(Box::new(request), Some(email), start)
    }

    fn new(request: Box<PageRequest>, email: Option<Key>, start: Option<Item>) -> Self {
        let (next, backoff) = (Next::From(start), Duration::ZERO);
        Self {
            request,
            email,
            next,
            max_items: None,
            backoff,
        }
    }

    /// Reads the next page: at most 1 MB and at most `limit` users, perhaps none. Returns `None`
    /// after the last page.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub(crate) async fn next(&mut self, limit: Option<i32>) -> Result<Option<Vec<User>>, Error> {
        /// The maximum number of items in a page after one that was too large, and the factor by
        /// which it shrinks after each further one. It then grows again by the same factor.
        const STEPS: (i32, i32) = (256, 16);

        let Next::From(start) = mem::replace(&mut self.next, Next::Nothing) else {
            return Ok(None);
        };
        // Even a sleep of zero takes a millisecond, the resolution of tokio's timer.
        if !self.backoff.is_zero() {
            sleep(self.backoff).await;
        }
        let (items, last) = loop {
            let max = match (limit, self.max_items) {
                (Some(limit), Some(max)) => Some(limit.min(max)),
                (limit, max) => limit.or(max),
            };
            match (self.request)(start.clone(), max).await {
                Ok(page) => break page,
                Err(error) if is_too_large(&error) && max != Some(1) => {
                    let smaller = max.map_or(STEPS.0, |max| STEPS.0.min(max / STEPS.1));
                    self.max_items = Some(smaller.max(1));
                }
                Err(error) => return Err(error),
            }
        };
        self.max_items = self
            .max_items
            .map(|max| max * STEPS.1)
            .filter(|max| *max <= STEPS.0);

        let last = last.filter(|key| !key.is_empty());
        if last.is_some() && last == start {
            // The list would never end.
            return Err(garbage());
        }
        self.backoff = match items.len() {
            0 => BACKOFF.1.min(self.backoff * 2).max(BACKOFF.0),
            _ => Duration::ZERO,
        };
        self.next = last.map_or(Next::Nothing, |key| Next::From(Some(key)));
        let users: Option<Vec<_>> = items.into_iter().map(|item| self.user(item)).collect();
        users.ok_or_else(garbage).map(Some)
    }

    /// Returns the item as a user, if it belongs in this list.
    fn user(&self, item: Item) -> Option<User> {
        let email = self.email.as_ref().map(Key::as_str);
        User::from_item(item).filter(|user| email.is_none() || user.string(EMAIL) == email)
    }

    /// Returns the ids of the remaining users.
    fn ids(self) -> BoxStream<'static, Result<String, Error>> {
        stream::try_unfold(self, async |mut pages| {
            Ok(pages.next(None).await?.map(|users| (users, pages)))
        })
        .map_ok(|users| stream::iter(users.into_iter().map(|user| Ok(user.id().to_owned()))))
        .try_flatten()
        .boxed()
    }
}

/// Returns the key of the item with this id.
fn key(id: &str) -> Item {
    HashMap::from([(ID.to_owned(), AttributeValue::S(id.to_owned()))])
}

/// Returns the item as a user, which must have this id.
fn user_with_id(item: Item, id: &Key) -> Result<User, Error> {
    User::from_item(item)
        .filter(|user| user.id() == id.as_str())
        .ok_or_else(garbage)
}

fn delete_request(id: &str) -> WriteRequest {
    let request = DeleteRequest::builder().set_key(Some(key(id))).build();
    WriteRequest::builder()
        .delete_request(request.expect("the request has a key"))
        .build()
}

fn not_found(id: &str) -> Error {
    Error::UserNotFound { id: id.to_owned() }
}
