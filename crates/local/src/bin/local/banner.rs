//! The text that the service prints once it has started.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use local::{Database, Service, Throttle};

use crate::settings::Settings;

/// Returns a few lines that explain how to use the service.
pub(crate) fn banner(service: &Service, settings: &Settings, throttle: Option<Throttle>) -> String {
    let url = service.url();
    let kept = match &settings.database {
        Database::Memory => "in memory until the service stops".to_owned(),
        Database::File(path) => format!("in {}", path.display()),
        Database::Endpoint(endpoint) => format!(
            "in the table {} of the DynamoDB at {endpoint}{}",
            service.table(),
            if service.created_table() {
                ", which was just created"
            } else {
                ""
            }
        ),
    };
    let key = service
        .api_key()
        .map(|key| format!(" -H 'x-api-key: {key}'"))
        .unwrap_or_default();
    let mut text = format!(
        "User Profile API: {url}/users\nTry it in a browser: {}\n",
        service.docs_url()
    );
    if !settings.host.is_loopback() {
        text += &warning(settings.host, url);
    }
    let _ = writeln!(
        text,
        "Users are kept {kept}. Ctrl-C stops the service. Try:\n"
    );
    let _ = writeln!(text, "  curl{key} {url}/users");
    let _ = writeln!(
        text,
        "  curl{key} -X POST {url}/users \
         -d '{{\"id\": \"1\", \"email\": \"ada@example.com\", \"name\": \"Ada\"}}'"
    );
    let _ = writeln!(text, "  curl{key} {url}/users/1\n");
    if let Some(key) = service.api_key() {
        let _ = writeln!(
            text,
            "Requests must carry the API key {key}. Each run has a new one."
        );
    }
    if let Some(Throttle { rate, burst }) = throttle {
        let _ = writeln!(
            text,
            "As on AWS, each method accepts {burst} requests at once and {rate} a second, and \
             rejects more with 429. PARAMS='RateLimit=… BurstLimit=…' changes this."
        );
    }
    if let Some((id, secret)) = service.dynamodb_credentials() {
        let _ = writeln!(
            text,
            "The embedded DynamoDB is at {endpoint}, with a key for this run only:\n\n  \
             AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION=us-east-1 \
             aws dynamodb scan --table-name {table} --endpoint-url {endpoint}\n",
            endpoint = service.dynamodb_endpoint(),
            table = service.table(),
        );
    }
    text
}

/// Returns the warning for a service that other machines can reach.
fn warning(host: IpAddr, url: &str) -> String {
    let reachable = if host.is_unspecified() {
        outward_address(host)
    } else {
        Some(host)
    };
    let address = match reachable {
        Some(address) => {
            let port_and_path = url.rsplit_once(':').map_or("", |(_, rest)| rest);
            let address = SocketAddr::new(address, 0).to_string();
            let address = address.trim_end_matches(":0");
            format!("From other machines: http://{address}:{port_and_path}/users\n")
        }
        None => "This machine seems to have no address that other machines can reach.\n".to_owned(),
    };
    format!(
        "{address}WARNING: everyone who can reach this machine can read, change and delete all \
         users. Without HOST=, only this machine can.\n"
    )
}

/// Returns the address that this machine uses to reach others. It is the local address of a
/// connected UDP socket, which sends nothing. RFC 5737 and RFC 3849 reserve the destinations for
/// documentation.
fn outward_address(host: IpAddr) -> Option<IpAddr> {
    let (local, remote) = if host.is_ipv4() {
        ("0.0.0.0:0", "192.0.2.1:9")
    } else {
        ("[::]:0", "[2001:db8::1]:9")
    };
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect(remote).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}
