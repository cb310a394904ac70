//! The settings of `make run`. They are environment variables: `PORT=3001 make run` does the same
//! as `make run PORT=3001`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use local::{Database, Error, parse_parameters};
use users_core::ENDPOINT_VARIABLE;

/// The default data file.
const DEFAULT_DATA: &str = ".data/users.db";

/// What the program prints if it is called with arguments.
pub(crate) const USAGE: &str = "\
The whole User Profile API on this machine: API Gateway, Lambda and DynamoDB.

`make run` starts it. It reads these variables from the environment:

  PORT=3000            the port to listen on; 0 means any free port
  HOST=127.0.0.1       the address to listen on; any but loopback lets other machines use it
  STAGE=test           the API's stage, the first segment of every path
  DATA=FILE            the file to keep users in, .data/users.db by default
  MEMORY=1             keeps users only in memory
  DYNAMO_ENDPOINT=URL  keeps users in the DynamoDB at this URL
  CORS=ORIGIN          the origin whose pages may use the API from a browser; * means any
  PARAMS='Name=Value'  parameters of template.yaml, as for make deploy
";

/// The settings of the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) database: Database,
    /// The template's parameters.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the settings from variables. `endpoint` is the URL of a DynamoDB that the environment
    /// names. `hostname` returns this machine's name.
    pub(crate) fn new(
        variable: impl Fn(&str) -> Option<String>,
        endpoint: Option<String>,
        hostname: impl Fn() -> Option<String>,
    ) -> Result<Self, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let port = match variable("PORT") {
            None => 3000,
            Some(port) => port.trim().parse().map_err(|_| {
                format!("PORT={port} is not a port: use 1 to 65535, or 0 for any free port")
            })?,
        };
        Ok(Self {
            host: host(variable("HOST"), hostname)?,
            port,
            database: database(&variable, endpoint)?,
            parameters: parameters(&variable)?,
        })
    }
}

/// Returns the address to listen on. Some shells export the machine's own name as `HOST`, which
/// counts as unset.
fn host(host: Option<String>, hostname: impl Fn() -> Option<String>) -> Result<IpAddr, String> {
    let Some(host) = host else {
        return Ok(Ipv4Addr::LOCALHOST.into());
    };
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(address);
    }
    let short = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
    if hostname().is_some_and(|own| short(&own) == short(&host)) {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    Err(format!(
        "HOST={host} is not an IP address: use one of this machine's, or 0.0.0.0 for all"
    ))
}

fn database(
    variable: &impl Fn(&str) -> Option<String>,
    endpoint: Option<String>,
) -> Result<Database, String> {
    let memory = match variable("MEMORY") {
        None => None,
        Some(value) => match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(format!("MEMORY={value}")),
            "0" | "false" | "no" | "off" => None,
            _ => {
                return Err(format!(
                    "MEMORY={value} is neither on nor off: use MEMORY=1 or MEMORY=0"
                ));
            }
        },
    };
    let data = variable("DATA");
    let endpoint_name = if variable(ENDPOINT_VARIABLE).is_some() {
        ENDPOINT_VARIABLE
    } else {
        "AWS_ENDPOINT_URL_DYNAMODB (or AWS_ENDPOINT_URL)"
    };
    let named_endpoint = endpoint
        .as_ref()
        .map(|endpoint| format!("{endpoint_name}={endpoint}"));
    let named_data = data.as_ref().map(|data| format!("DATA={data}"));
    let given: Vec<_> = [named_endpoint, memory.clone(), named_data]
        .into_iter()
        .flatten()
        .collect();
    if let [first, second, ..] = given.as_slice() {
        return Err(format!(
            "{first} and {second} contradict each other, because users are kept in one place only: \
             unset one of them"
        ));
    }
    Ok(match (endpoint, memory) {
        (Some(endpoint), _) => Database::Endpoint(endpoint),
        (None, Some(_)) => Database::Memory,
        (None, None) => {
            Database::File(data.map_or_else(|| PathBuf::from(DEFAULT_DATA), PathBuf::from))
        }
    })
}

/// Returns the parameters from `PARAMS`, and those that have their own variables.
fn parameters(
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let text = variable("PARAMS").unwrap_or_default();
    let mut parameters = parse_parameters(&text).map_err(|error: Error| error.to_string())?;
    for (name, parameter) in [("STAGE", "StageName"), ("CORS", "CorsAllowOrigin")] {
        let Some(value) = variable(name) else {
            continue;
        };
        match parameters.get(parameter) {
            Some(other) if *other != value => {
                return Err(format!(
                    "{name}={value} and PARAMS='{parameter}={other}' contradict each other: \
                     unset one of them"
                ));
            }
            _ => parameters.insert(parameter.to_owned(), value),
        };
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(found, _)| *found == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let endpoint = variable(ENDPOINT_VARIABLE).filter(|endpoint| !endpoint.is_empty());
        Settings::new(variable, endpoint, || Some("laptop.example".to_owned()))
    }

    fn database(variables: &[(&str, &str)]) -> Database {
        settings(variables)
            .expect("the variables are valid")
            .database
    }

    #[test]
    fn without_variables_the_service_is_private_and_keeps_its_users() {
        let expected = Settings {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 3000,
            database: Database::File(DEFAULT_DATA.into()),
            parameters: BTreeMap::new(),
        };
        assert_eq!(settings(&[]), Ok(expected));
        let blank = [
            "PORT",
            "HOST",
            "STAGE",
            "DATA",
            "MEMORY",
            "CORS",
            "PARAMS",
            "DYNAMO_ENDPOINT",
        ]
        .map(|name| (name, ""));
        assert_eq!(settings(&blank), settings(&[]));
    }

    #[test]
    fn users_are_kept_where_one_variable_says() {
        assert_eq!(database(&[("MEMORY", "1")]), Database::Memory);
        for off in ["0", "no", "false", "off"] {
            assert_eq!(
                database(&[("MEMORY", off)]),
                Database::File(DEFAULT_DATA.into())
            );
        }
        let data = Database::File("other.db".into());
        assert_eq!(database(&[("DATA", "other.db"), ("MEMORY", "0")]), data);
        let endpoint = ("DYNAMO_ENDPOINT", "http://localhost:8000");
        assert_eq!(
            database(&[endpoint]),
            Database::Endpoint(endpoint.1.to_owned())
        );
        for (variables, names) in [
            (
                vec![endpoint, ("MEMORY", "1")],
                "DYNAMO_ENDPOINT=http://localhost:8000 and MEMORY=1",
            ),
            (
                vec![endpoint, ("DATA", "a")],
                "DYNAMO_ENDPOINT=http://localhost:8000 and DATA=a",
            ),
            (
                vec![("MEMORY", "yes"), ("DATA", "a")],
                "MEMORY=yes and DATA=a",
            ),
        ] {
            let error = settings(&variables).expect_err(names);
            assert!(error.starts_with(names), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_value_as_typed() {
        for (name, value) in [
            ("PORT", "x"),
            ("PORT", "65536"),
            ("HOST", "elsewhere"),
            ("MEMORY", "perhaps"),
        ] {
            let error = settings(&[(name, value)]).expect_err(value);
            assert!(error.starts_with(&format!("{name}={value} ")), "{error}");
        }
    }

    #[test]
    fn a_host_that_is_this_machines_name_counts_as_unset() {
        for (host, expected) in [
            ("laptop", "127.0.0.1"),
            ("LAPTOP.example", "127.0.0.1"),
            ("localhost", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("[::1]", "::1"),
        ] {
            let settings = settings(&[("HOST", host)]).expect(host);
            assert_eq!(settings.host.to_string(), expected);
        }
    }

    #[test]
    fn parameters_come_from_one_place() {
        let settings = |variables: &[(&str, &str)]| settings(variables).map(|it| it.parameters);
        let parameters = settings(&[("PARAMS", "RateLimit=5"), ("CORS", "*"), ("STAGE", "dev")]);
        let expected = [
            ("CorsAllowOrigin", "*"),
            ("RateLimit", "5"),
            ("StageName", "dev"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters, Ok(BTreeMap::from(expected)));
        settings(&[("PARAMS", "StageName=dev"), ("STAGE", "dev")]).expect("they agree");
        settings(&[("PARAMS", "StageName=dev"), ("STAGE", "prod")]).expect_err("they do not");
        settings(&[("PARAMS", "AuthType")]).expect_err("there is no value");
    }
}
