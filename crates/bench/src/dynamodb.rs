//! DynamoDB behind TLS on loopback: an embedded engine, or a script that answers at once or after a given time.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use dynoxide::{Database, ImportOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::{Builder, TempPath};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::functions::{id, item};

/// The name of the table.
pub const TABLE: &str = "user-profiles";

/// Where Linux distributions, Amazon's among them, have the certificates that programs trust.
const TRUSTED: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// How many ids a scripted page of a scan has: what fits 1 MB of users of some 330 bytes.
const PAGE: usize = 3000;

/// What answers.
#[derive(Clone)]
pub enum Backend {
    /// A table with this one user, whatever is written to it.
    OneUser(Value),
    /// A table with as many users that each request takes some time from.
    Many(Arc<Many>),
    /// A real engine.
    Engine(Engine),
}

/// A table of [`item`]s, of which it only knows how many are left.
#[derive(Debug)]
pub struct Many {
    users: usize,
    deleted: AtomicUsize,
    delay: Duration,
}

impl Many {
    /// A table with as many users. Each request takes `delay`.
    #[must_use]
    pub fn new(users: usize, delay: Duration) -> Self {
        Self { users, deleted: AtomicUsize::new(0), delay }
    }

    /// How many users are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.users.saturating_sub(self.deleted.load(Relaxed))
    }
}

/// An embedded DynamoDB, in memory.
#[derive(Clone)]
pub struct Engine {
    database: Database,
    address: SocketAddr,
}

impl Engine {
    /// Starts it with an empty table.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start() -> io::Result<Self> {
        let database = Database::memory().map_err(io::Error::other)?;
        let schema = json!({
            "TableName": TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "id", "AttributeType": "S"},
                {"AttributeName": "email", "AttributeType": "S"},
            ],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [{
                "IndexName": "email-index",
                "KeySchema": [{"AttributeName": "email", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }],
        });
        database.create_table(serde_json::from_value(schema)?).map_err(io::Error::other)?;
        let (address, served) = (listen()?, database.clone());
        let (listener, address) = address;
        serve(async move {
            dynoxide::server::serve_on(TcpListener::from_std(listener)?, served).await;
            Ok(())
        });
        Ok(Self { database, address })
    }

    /// Puts users in the table, given as items.
    ///
    /// # Errors
    ///
    /// If the engine refuses them.
    pub fn put(&self, items: Vec<Value>) -> io::Result<()> {
        let items = items.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        self.database
            .import_items(TABLE, items, ImportOptions::default())
            .map_err(io::Error::other)?;
        Ok(())
    }

    /// How many users are in the table.
    ///
    /// # Errors
    ///
    /// If the engine fails.
    pub fn users(&self) -> io::Result<i64> {
        let stats = self.database.table_stats().map_err(io::Error::other)?;
        Ok(stats.iter().map(|table| table.item_count).sum())
    }
}

/// Which certificates the functions trust, besides the one that issued the server's.
#[derive(Clone, Copy, Debug)]
pub enum Trusted {
    /// Those of this machine.
    System,
    /// As many as Debian 12 has, and as large, but the same on every machine: one, again and again.
    Alike,
}

/// How many certificates Debian 12 trusts, and with a name of how many bytes, twice, one has the size of theirs.
const CERTIFICATES: (usize, usize) = (144, 350);

/// A DynamoDB that is reached by HTTPS, as long as this process runs.
#[derive(Debug)]
pub struct DynamoDb {
    port: u16,
    /// The certificates to trust.
    trusted: TempPath,
    connections: Arc<AtomicUsize>,
}

impl DynamoDb {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(backend: Backend, trusted: Trusted) -> io::Result<Self> {
        let (acceptor, issuer) = certificates().map_err(io::Error::other)?;
        let others = match trusted {
            Trusted::System => TRUSTED
                .iter()
                .find_map(|path| fs::read_to_string(Path::new(path)).ok())
                .unwrap_or_default(),
            Trusted::Alike => {
                let (number, name) = CERTIFICATES;
                authority(&"x".repeat(name)).map_err(io::Error::other)?.pem().repeat(number)
            }
        };
        let trusted =
            Builder::new().prefix("users-bench-").suffix(".pem").tempfile()?.into_temp_path();
        fs::write(&trusted, labelled(&(others + &issuer)))?;
        let (listener, address) = listen()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let made = Arc::clone(&connections);
        serve(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                made.fetch_add(1, Relaxed);
                let (acceptor, backend) = (acceptor.clone(), backend.clone());
                tokio::spawn(async move { answer(stream, acceptor, backend).await });
            }
        });
        Ok(Self { port: address.port(), trusted, connections })
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// What a function needs to know of it, as environment variables.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let endpoint = OsString::from(format!("https://localhost:{}", self.port));
        let trusted = self.trusted.as_os_str();
        vec![
            ("DYNAMO_ENDPOINT", endpoint),
            ("USERS_TABLE", TABLE.into()),
            ("SSL_CERT_FILE", trusted.to_owned()),
            ("AWS_CA_BUNDLE", trusted.to_owned()),
        ]
    }
}

fn listen() -> io::Result<(StdListener, SocketAddr)> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Runs a server on a thread of its own.
fn serve(server: impl Future<Output = io::Result<()>> + Send + 'static) {
    thread::spawn(move || {
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(server)
    });
}

/// A certificate for `localhost`, ready to be used, and that of its issuer as PEM.
fn certificates() -> Result<(TlsAcceptor, String), Box<dyn std::error::Error + Send + Sync>> {
    let issuer = authority("User profiles' benchmark")?;
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &issuer)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), issuer.pem()))
}

/// A certificate that may issue others.
fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Certificates as Lambda's system, Amazon Linux, lays them out: with the name of each above it.
fn labelled(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let certificates =
        pem.split_inclusive(END).filter(|certificate| certificate.ends_with(END)).enumerate();
    certificates.fold(String::new(), |text, (number, certificate)| {
        text + &format!("# {:#<1$}\n{2}\n\n", "Authority", number % 50, certificate.trim_start())
    })
}

async fn answer(stream: TcpStream, acceptor: TlsAcceptor, backend: Backend) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    if let Backend::Engine(engine) = backend {
        let mut plain = TcpStream::connect(engine.address).await?;
        plain.set_nodelay(true)?;
        copy_bidirectional(&mut stream, &mut plain).await?;
        return Ok(());
    }
    let mut stream = BufReader::new(stream);
    while let Some((operation, body)) = request(&mut stream).await? {
        let body = match &backend {
            Backend::Many(many) => {
                sleep(many.delay).await;
                many.answer(&operation, &body)?
            }
            Backend::OneUser(user) => one_user(user, &operation, &body),
            Backend::Engine(_) => String::new(),
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        response.push_str(&body);
        stream.get_mut().write_all(response.as_bytes()).await?;
        stream.get_mut().flush().await?;
    }
    Ok(())
}

/// The next request's operation and body, unless the connection is closed. A request for DynamoDB's health has no
/// operation.
async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
) -> io::Result<Option<(String, String)>> {
    let (mut operation, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            if name.eq_ignore_ascii_case("x-amz-target") {
                value.rsplit('.').next().unwrap_or_default().clone_into(&mut operation);
            } else if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(io::Error::other)?;
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some((operation, String::from_utf8(body).map_err(io::Error::other)?)))
}

fn one_user(user: &Value, operation: &str, request: &str) -> String {
    match operation {
        "GetItem" => json!({"Item": user}),
        "DeleteItem" => json!({"Attributes": user}),
        // It is in the first segment.
        "Scan" if request.contains("\"Segment\":") && !request.contains("\"Segment\":0") => {
            json!({"Items": [], "Count": 0, "ScannedCount": 0})
        }
        "Scan" | "Query" => json!({"Items": [user], "Count": 1, "ScannedCount": 1}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    }
    .to_string()
}

impl Many {
    fn answer(&self, operation: &str, request: &str) -> io::Result<String> {
        match operation {
            "Scan" => self.page(&serde_json::from_str(request)?),
            "BatchWriteItem" => {
                self.deleted.fetch_add(request.matches("\"DeleteRequest\"").count(), Relaxed);
                Ok(json!({"UnprocessedItems": {}}).to_string())
            }
            _ => Ok("{}".to_owned()),
        }
    }

    /// A page of a segment of the table, or of the table.
    fn page(&self, scan: &Value) -> io::Result<String> {
        let number = |value: &Value, default| {
            value.as_u64().and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
        };
        let (segment, segments) = (number(&scan["Segment"], 0), number(&scan["TotalSegments"], 1));
        let (start, end) = (self.users * segment / segments, self.users * (segment + 1) / segments);
        let start = match scan["ExclusiveStartKey"]["id"]["S"]
            .as_str()
            .and_then(|id| id.rsplit('-').next())
        {
            Some(number) => number.parse::<usize>().map_err(io::Error::other)? + 1,
            None => start,
        };
        let page = start..end.min(start + PAGE.min(number(&scan["Limit"], PAGE)));
        let ids = scan["ProjectionExpression"].is_string();
        let key = |user| json!({"id": {"S": id(user)}});
        let items: Vec<_> =
            page.clone().map(|user| if ids { key(user) } else { item(user) }).collect();
        let mut answer = json!({"Items": items, "Count": page.len(), "ScannedCount": page.len()});
        if page.end < end {
            answer["LastEvaluatedKey"] = key(page.end - 1);
        }
        Ok(answer.to_string())
    }
}
