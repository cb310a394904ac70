//! Users in their DynamoDB table: the only file that builds DynamoDB requests.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Config, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, builders::PutItemFluentBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, ReturnValue, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::error::Error;
use crate::user::{EMAIL, ID, Item, User, is_key, too_large};

/// The global secondary index whose partition key is `email`, with all attributes projected.
pub const EMAIL_INDEX: &str = "email-index";

/// The most keys that one `BatchWriteItem` takes.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const BATCH: usize = 25;

/// How many batches of deletes are on their way at once.
const BATCHES_AT_ONCE: usize = 16;

/// How many segments of the table are read at once, where it is known or found to have more than one page.
const SEGMENTS: i32 = 4;

/// How long before its deadline [`Store::delete_all`] begins nothing new, so that what it began is done in time.
const WIND_UP: Duration = Duration::from_secs(2);

/// How long to wait before keys that DynamoDB left unprocessed are sent again: at most this long at first, and twice as
/// long each time up to the second, with full jitter
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.BatchOperations>).
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The users of one table.
///
/// It is cheap to clone. All methods answer within 20 seconds a DynamoDB call, retries included, with
/// [`Error::Unavailable`] where DynamoDB throttles, fails, hangs or cannot be reached, and with [`Error::Internal`] where it
/// refuses the service itself, such as for a missing table or permission.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: Arc<str>,
    /// How many users the first page had when the whole table was last read one page after another, if there were more pages;
    /// else 0.
    full_page: Arc<AtomicU32>,
}

impl Store {
    /// The users of the table of this name: partition key `id`, index [`EMAIL_INDEX`].
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.into(), full_page: Arc::default() }
    }

    /// Opens the connection that the first call will use, so that the first call does not wait for it, and gives up after
    /// a second. It needs no permission and costs nothing: DynamoDB answers `GET /` with a word about its health. A server
    /// that closes the connection after that is asked for an item, for at most half a read unit. Whether any of it works
    /// is left to the first call to find out.
    pub async fn connect(&self) {
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let item = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key(ID, AttributeValue::S(ID.to_owned()));
        let health =
            item.clone().customize().config_override(once.clone()).mutate_request(|request| {
                // The only error is that of a method that is not one.
                let _ = request.set_method("GET");
                *request.body_mut() = String::new().into();
                request.headers_mut().remove("content-length");
            });
        let connect = async {
            // An error is expected: a word about health is no item.
            let Err(answer) = health.send().await else { return };
            let closed = answer
                .raw_response()
                .is_none_or(|answer| answer.headers().get("connection") == Some("close"));
            if closed {
                // This may be refused, and leaves the connection open all the same.
                let _ = item.customize().config_override(once).send().await;
            }
        };
        let _ = timeout(Duration::from_secs(1), connect).await;
    }

    /// The user with this id, as of all writes that were answered before: the read is strongly consistent.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`].
    pub async fn get(&self, id: &str) -> Result<User, Error> {
        let key = key_of_existing(id)?;
        let request = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(key))
            .consistent_read(true);
        let item = request.send().await.map_err(fault)?.item;
        item.map(User::from_item).ok_or_else(|| not_found(id))
    }

    /// Stores a user whose id is not taken.
    ///
    /// # Errors
    ///
    /// [`Error::UserAlreadyExists`], and the existing user stays as it is; [`Error::InvalidUser`] if DynamoDB finds the user
    /// too large.
    pub async fn create(&self, user: User) -> Result<(), Error> {
        let id = user.id().to_owned();
        let attempts = Attempts::default();
        let request = self
            .put(user.clone())
            .condition_expression("attribute_not_exists(#id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = request.customize().interceptor(attempts.clone()).send().await else {
            return Ok(());
        };
        match error.as_service_error() {
            // An attempt whose answer was lost may have stored the user, and the next one then finds it.
            Some(PutItemError::ConditionalCheckFailedException(failed))
                if attempts.0.load(Relaxed) > 1
                    && failed
                        .item
                        .clone()
                        .is_some_and(|item| User::from_item(item).is_same_as(&user)) =>
            {
                Ok(())
            }
            Some(PutItemError::ConditionalCheckFailedException(_)) => {
                Err(Error::UserAlreadyExists { id })
            }
            _ => Err(put_fault(error)),
        }
    }

    /// Replaces the whole user that has this user's id.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`], and nothing is stored; [`Error::InvalidUser`] if DynamoDB finds the user too large.
    pub async fn replace(&self, user: User) -> Result<(), Error> {
        let id = user.id().to_owned();
        match self.put(user).condition_expression("attribute_exists(#id)").send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Err(not_found(&id))
            }
            Err(error) => Err(put_fault(error)),
        }
    }

    fn put(&self, user: User) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(user.into_item()))
            .expression_attribute_names("#id", ID)
    }

    /// Deletes the user with this id, and gives it back.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`].
    pub async fn delete(&self, id: &str) -> Result<User, Error> {
        let key = key_of_existing(id)?;
        let request = self.client.delete_item().table_name(&*self.table).set_key(Some(key));
        let request = request.return_values(ReturnValue::AllOld);
        let item = request.send().await.map_err(fault)?.attributes;
        item.map(User::from_item).ok_or_else(|| not_found(id))
    }

    /// The users, page by page: all, or those of an email address; after the user with the id `after`, or from the start.
    ///
    /// The whole table is read strongly consistently. The index that is read for an email address cannot be, and may lag
    /// behind a write for a moment.
    #[must_use]
    pub fn list(&self, email: Option<String>, after: Option<&str>) -> Pages {
        // No user has an email address that cannot be a key, and DynamoDB would not let us ask.
        let nobody = email.as_deref().is_some_and(|email| !is_key(email));
        let start = after.map(|id| {
            let mut key = key(id);
            key.extend(
                email.iter().map(|email| (EMAIL.to_owned(), AttributeValue::S(email.clone()))),
            );
            key
        });
        let next = if nobody { Next::Nothing } else { Next::From(start) };
        Pages { store: self.clone(), scope: email.map_or(Scope::Table(None), Scope::Email), next }
    }

    /// All users, page by page, in no order, strongly consistently.
    ///
    /// A table that had several pages the last time is read in four segments at once: then DynamoDB reads some pages while
    /// others are worked on. A table of one page is not, which would take more requests and a connection for each. The last time, of
    /// this process, tells, because nothing else does without a request of its own. What that gives is in `docs/benchmarks.md`.
    #[must_use]
    pub fn all(&self) -> BoxStream<'static, Result<Vec<User>, Error>> {
        if self.full_page.load(Relaxed) == 0 {
            self.list(None, None).stream()
        } else {
            let pages = |segment| {
                let scope = Scope::Table(Some(segment));
                Pages { store: self.clone(), scope, next: Next::From(None) }.stream()
            };
            stream::select_all((0..SEGMENTS).map(pages)).boxed()
        }
    }

    /// Deletes all users that exist when it begins, in no order.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] if `deadline` came first.
    pub async fn delete_all(&self, deadline: Instant) -> Result<(), Error> {
        let stop = deadline - WIND_UP;
        let deleted = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let done = async {
            // Most tables are one page. To read segments at once takes a connection for each.
            let (first, next) = self.scan(Attributes::Id, None, None, None).await?;
            let first = stream::iter(first.into_iter().map(|user| Ok(user.id().to_owned())));
            // These are gone before the segments are read, which would have them again.
            self.delete_each(first.boxed(), stop, &deleted, &stopped).await?;
            if matches!(next, Next::From(_)) && !stopped.load(Relaxed) {
                let rest = stream::select_all((0..SEGMENTS).map(|segment| self.ids(segment)));
                self.delete_each(rest.boxed(), stop, &deleted, &stopped).await?;
            }
            Ok(())
        };
        match timeout_at(deadline, done).await {
            Ok(Ok(())) if !stopped.load(Relaxed) => Ok(()),
            Ok(Err(error)) => Err(error),
            _ => Err(Error::DeleteIncomplete { deleted: deleted.load(Relaxed) }),
        }
    }

    /// Deletes the users with these ids, many batches at once, and counts them in `deleted`. Sets `stopped` if `stop` comes
    /// before all are deleted.
    async fn delete_each(
        &self,
        ids: BoxStream<'static, Result<String, Error>>,
        stop: Instant,
        deleted: &AtomicUsize,
        stopped: &AtomicBool,
    ) -> Result<(), Error> {
        let batches = ids.try_chunks(BATCH).map_err(|error| error.1).take_until(async {
            sleep_until(stop).await;
            stopped.store(true, Relaxed);
        });
        let delete = async |ids| {
            if !self.delete_batch(ids, stop, deleted).await? {
                stopped.store(true, Relaxed);
            }
            Ok(())
        };
        batches.try_for_each_concurrent(BATCHES_AT_ONCE, delete).await
    }

    /// The ids of the users in one segment of the table.
    fn ids(&self, segment: i32) -> BoxStream<'static, Result<String, Error>> {
        stream::try_unfold((self.clone(), Next::From(None)), move |(store, next)| async move {
            let Next::From(start) = next else { return Ok(None) };
            let (users, next) = store.scan(Attributes::Id, Some(segment), start, None).await?;
            Ok(Some((users, (store, next))))
        })
        .map_ok(|users| stream::iter(users.into_iter().map(|user| Ok(user.id().to_owned()))))
        .try_flatten()
        .boxed()
    }

    /// A page of the table, or of one of its segments, and what the next one is.
    async fn scan(
        &self,
        attributes: Attributes,
        segment: Option<i32>,
        start: Option<Item>,
        limit: Option<i32>,
    ) -> Result<(Vec<User>, Next), Error> {
        let mut scan = self.client.scan().table_name(&*self.table).consistent_read(true);
        if let Some(segment) = segment {
            scan = scan.segment(segment).total_segments(SEGMENTS);
        }
        if let Attributes::Id = attributes {
            scan = scan.projection_expression("#id").expression_attribute_names("#id", ID);
        }
        let output =
            scan.set_exclusive_start_key(start).set_limit(limit).send().await.map_err(fault)?;
        Ok(page(output.items, output.last_evaluated_key))
    }

    /// A page of the users with this email address, and what the next one is.
    async fn query(
        &self,
        email: &str,
        start: Option<Item>,
        limit: Option<i32>,
    ) -> Result<(Vec<User>, Next), Error> {
        let query = self.client.query().table_name(&*self.table).index_name(EMAIL_INDEX);
        let query = query.key_condition_expression("#email = :email");
        let query = query.expression_attribute_names("#email", EMAIL);
        let query =
            query.expression_attribute_values(":email", AttributeValue::S(email.to_owned()));
        let output =
            query.set_exclusive_start_key(start).set_limit(limit).send().await.map_err(fault)?;
        Ok(page(output.items, output.last_evaluated_key))
    }

    /// Deletes the users with these ids, of which there are at most [`BATCH`], and counts them in `deleted`. Whether all
    /// are deleted: some may not be when `stop` has come.
    async fn delete_batch(
        &self,
        ids: Vec<String>,
        stop: Instant,
        deleted: &AtomicUsize,
    ) -> Result<bool, Error> {
        let mut left = ids.iter().map(|id| delete_request(id)).collect::<Result<Vec<_>, _>>()?;
        let mut backoff = BACKOFF.0;
        loop {
            let sent = left.len();
            let output = self
                .client
                .batch_write_item()
                .request_items(&*self.table, left)
                .send()
                .await
                .map_err(fault)?;
            left = output
                .unprocessed_items
                .and_then(|mut tables| tables.remove(&*self.table))
                .unwrap_or_default();
            deleted.fetch_add(sent.saturating_sub(left.len()), Relaxed);
            if left.is_empty() {
                return Ok(true);
            }
            if Instant::now() + backoff > stop {
                return Ok(false);
            }
            sleep(backoff.mul_f64(fastrand::f64())).await;
            backoff = BACKOFF.1.min(backoff * 2);
        }
    }
}

/// A list of users, read page by page. See [`Store::list`].
#[derive(Debug)]
pub struct Pages {
    store: Store,
    scope: Scope,
    next: Next,
}

/// Which users are read.
#[derive(Debug)]
enum Scope {
    /// All, or those in one of [`SEGMENTS`] segments of the table.
    Table(Option<i32>),
    /// Those of an email address.
    Email(String),
}

/// What is read of each user.
#[derive(Clone, Copy, Debug)]
enum Attributes {
    All,
    Id,
}

/// What the next page is.
#[derive(Debug)]
enum Next {
    /// The one after this key, or the first.
    From(Option<Item>),
    /// There is none.
    Nothing,
}

impl Pages {
    /// The next page: at most 1 MB of users and at most `limit`, maybe none. `None` when there are no more pages.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn next(&mut self, limit: Option<i32>) -> Result<Option<Vec<User>>, Error> {
        let Next::From(start) = mem::replace(&mut self.next, Next::Nothing) else {
            return Ok(None);
        };
        let is_first = start.is_none() && limit.is_none();
        let (users, next) = match &self.scope {
            Scope::Email(email) => self.store.query(email, start, limit).await?,
            Scope::Table(segment) => {
                self.store.scan(Attributes::All, *segment, start, limit).await?
            }
        };
        self.next = next;
        if is_first {
            self.learn(users.len());
        }
        Ok(Some(users))
    }

    /// Keeps in mind what the first page, of as many users, tells of the size of the table.
    fn learn(&self, users: usize) {
        let full_page = &self.store.full_page;
        let users = u32::try_from(users).unwrap_or(u32::MAX);
        let is_last = matches!(self.next, Next::Nothing);
        match self.scope {
            Scope::Table(None) => full_page.store(if is_last { 0 } else { users }, Relaxed),
            // Segments are ranges of the ids' hashes, so each has about as many users.
            Scope::Table(Some(0))
                if is_last
                    && users <= full_page.load(Relaxed).div_ceil(SEGMENTS.unsigned_abs()) =>
            {
                full_page.store(0, Relaxed);
            }
            _ => {}
        }
    }

    /// The pages that are left.
    pub(crate) fn stream(self) -> BoxStream<'static, Result<Vec<User>, Error>> {
        stream::try_unfold(self, async |mut pages| {
            Ok(pages.next(None).await?.map(|users| (users, pages)))
        })
        .boxed()
    }
}

/// The users of a page, and what the next one is.
fn page(items: Option<Vec<Item>>, last: Option<Item>) -> (Vec<User>, Next) {
    let users = items.unwrap_or_default().into_iter().map(User::from_item).collect();
    (users, last.filter(|key| !key.is_empty()).map_or(Next::Nothing, |key| Next::From(Some(key))))
}

/// The table's key of the user with this id.
fn key(id: &str) -> Item {
    HashMap::from([(ID.to_owned(), AttributeValue::S(id.to_owned()))])
}

/// The table's key of the user with this id, unless no user can have it.
fn key_of_existing(id: &str) -> Result<Item, Error> {
    if is_key(id) { Ok(key(id)) } else { Err(not_found(id)) }
}

fn delete_request(id: &str) -> Result<WriteRequest, Error> {
    let request = DeleteRequest::builder()
        .set_key(Some(key(id)))
        .build()
        .map_err(|error| Error::Internal(error.into()))?;
    Ok(WriteRequest::builder().delete_request(request).build())
}

fn not_found(id: &str) -> Error {
    Error::UserNotFound { id: id.to_owned() }
}

/// The fault that a call of DynamoDB ended with.
fn fault<E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static>(
    error: SdkError<E>,
) -> Error {
    let unavailable = match &error {
        SdkError::ServiceError(refusal) => {
            let status = refusal.raw().status();
            status.is_server_error()
                || status.as_u16() == 429
                || refusal.err().code().is_none_or(is_passing)
        }
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        _ => true,
    };
    if unavailable { Error::Unavailable(error.into()) } else { Error::Internal(error.into()) }
}

/// Whether a code says that the same request may succeed later: those of AWS's throttling and passing faults, and of writes
/// that got in each other's way.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn is_passing(code: &str) -> bool {
    THROTTLING_ERRORS.contains(&code)
        || TRANSIENT_ERRORS.contains(&code)
        || ["ReplicatedWriteConflictException", "TransactionConflictException"].contains(&code)
}

/// The fault that a `PutItem` ended with. Only DynamoDB itself knows for sure how large an item is.
fn put_fault(error: SdkError<PutItemError>) -> Error {
    let message =
        error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    if message.contains("Item size") && message.contains("exceeded") {
        too_large("more than DynamoDB takes")
    } else {
        fault(error)
    }
}

/// Counts the attempts of one call: the first and its retries.
#[derive(Clone, Debug, Default)]
struct Attempts(Arc<AtomicU32>);

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }
}
