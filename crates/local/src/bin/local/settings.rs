//! The settings of `make run`. Each is an option and an environment variable: `local --port 3001`
//! does the same as `PORT=3001 make run` and `make run PORT=3001`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use local::{Database, Error, parse_parameters};

/// The default data file.
const DEFAULT_DATA: &str = ".data/users.db";

/// What a switch has if it has no value.
const ON: &str = "1";

/// The options that have a value: the variable, what its value is, and what it does.
const OPTIONS: [(&str, &str, &str); 8] = [
    (
        "PORT",
        "PORT",
        "The port to listen on; 0 means any free port [default: 3000]",
    ),
    (
        "HOST",
        "ADDRESS",
        "The address to listen on; any but loopback lets other machines use the service \
         [default: 127.0.0.1]",
    ),
    (
        "STAGE",
        "NAME",
        "The API's stage, the first segment of every path [default: test]",
    ),
    (
        "DATA",
        "FILE",
        "The file to keep users in [default: .data/users.db]",
    ),
    (
        "DYNAMO_ENDPOINT",
        "URL",
        "Keep users in the DynamoDB at this URL, in a table that is created if it is missing",
    ),
    (
        "DYNAMODB_PORT",
        "PORT",
        "The port of the embedded DynamoDB, whose access key is then `local` in each run",
    ),
    (
        "CORS",
        "ORIGINS",
        "The origins whose pages may use the API from a browser, separated by commas; * means any",
    ),
    (
        "PARAMS",
        "NAME=VALUE ...",
        "Parameters of template.yaml, as for make deploy",
    ),
];

/// The options that are on or off.
const SWITCHES: [(&str, &str); 3] = [
    ("MEMORY", "Keep users only in memory"),
    (
        "DEBUG",
        "Wait for debuggers: no time limits, and one process for each function, whose id is printed",
    ),
    (
        "WATCH",
        "Build again when a source file changes; needs Cargo and the repository",
    ),
];

/// Returns the command line of the program.
pub(crate) fn command() -> Command {
    let option = |variable: &'static str, help| {
        Arg::new(variable)
            .long(long(variable))
            .env(variable)
            .help(help)
    };
    let options = OPTIONS.map(|(variable, value, help)| option(variable, help).value_name(value));
    let switches = SWITCHES.map(|(variable, help)| {
        option(variable, help)
            .value_name("1|0")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(ON)
    });
    Command::new("local")
        .about("The whole User Profile API on this machine: API Gateway, Lambda and DynamoDB.")
        .args(options)
        .args(switches)
}

/// Returns the name of a variable's option, without hyphens at its start.
fn long(variable: &str) -> String {
    variable.to_lowercase().replace('_', "-")
}

/// A value, and how the user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// Such as `PORT=` or `--port `.
    name: String,
    value: String,
}

impl Given {
    /// Returns the value of an option, unless it is blank.
    pub(crate) fn find(matches: &ArgMatches, variable: &str) -> Option<Self> {
        let value = matches.get_one::<String>(variable)?;
        let name = if matches.value_source(variable) == Some(ValueSource::CommandLine) {
            format!("--{} ", long(variable))
        } else {
            format!("{variable}=")
        };
        Self::new(name, value)
    }

    fn new(name: String, value: &str) -> Option<Self> {
        (!value.trim().is_empty()).then(|| Self {
            name,
            value: value.to_owned(),
        })
    }

    /// Returns the option as the user typed it.
    fn typed(&self) -> String {
        format!("{}{}", self.name, self.value)
    }
}

/// Values by the names of the template's parameters.
type Values = BTreeMap<String, String>;

/// The settings of the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) database: Database,
    /// The fixed port of the embedded DynamoDB.
    pub(crate) dynamodb_port: Option<u16>,
    /// The template's parameters.
    pub(crate) parameters: Values,
    /// What the user typed for a parameter, such as `STAGE`.
    names: Values,
    pub(crate) debug: bool,
    pub(crate) watch: bool,
}

impl Settings {
    /// Interprets what the user gave for each variable. `hostname` returns this machine's name.
    pub(crate) fn new(
        given: impl Fn(&str) -> Option<Given>,
        hostname: impl Fn() -> Option<String>,
    ) -> Result<Self, String> {
        let (parameters, names) = parameters(&given)?;
        let dynamodb_port = given("DYNAMODB_PORT");
        let database = database(&given)?;
        if let (Database::Endpoint(_), Some(dynamodb_port)) = (&database, &dynamodb_port) {
            return Err(format!(
                "{} has no effect with another DynamoDB: unset it, or DYNAMO_ENDPOINT",
                dynamodb_port.typed()
            ));
        }
        Ok(Self {
            host: host(given("HOST"), hostname)?,
            port: given("PORT").map_or(Ok(3000), |given| port(&given))?,
            database,
            dynamodb_port: dynamodb_port.map(|given| port(&given)).transpose()?,
            parameters,
            names,
            debug: switch(given("DEBUG"))?.is_some(),
            watch: switch(given("WATCH"))?.is_some(),
        })
    }

    /// Names in an error what the user typed instead of the template's parameter.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::ParameterValue {
                name,
                value,
                problem,
            } => Error::ParameterValue {
                name: self.names.get(&name).cloned().unwrap_or(name),
                value,
                problem,
            },
            other => other,
        }
    }
}

fn port(given: &Given) -> Result<u16, String> {
    let port = given.value.trim().parse();
    port.map_err(|_| {
        format!(
            "{} is not a port: use 1 to 65535, or 0 for any free port",
            given.typed()
        )
    })
}

/// Returns what was given if it switches something on.
fn switch(given: Option<Given>) -> Result<Option<Given>, String> {
    let Some(given) = given else {
        return Ok(None);
    };
    match given.value.trim().to_ascii_lowercase().as_str() {
        ON | "true" | "yes" | "on" => Ok(Some(given)),
        "0" | "false" | "no" | "off" => Ok(None),
        _ => Err(format!(
            "{} is neither on nor off: use 1 or 0",
            given.typed()
        )),
    }
}

/// Returns the address to listen on. Some shells export the machine's own name as `HOST`, which
/// counts as unset.
fn host(given: Option<Given>, hostname: impl Fn() -> Option<String>) -> Result<IpAddr, String> {
    let Some(given) = given else {
        return Ok(Ipv4Addr::LOCALHOST.into());
    };
    let host = given.value.trim();
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(address);
    }
    let short = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
    if hostname().is_some_and(|own| short(&own) == short(host)) {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    Err(format!(
        "{} is not an IP address: use one of this machine's, or 0.0.0.0 for all",
        given.typed()
    ))
}

fn database(given: &impl Fn(&str) -> Option<Given>) -> Result<Database, String> {
    let endpoint = given("DYNAMO_ENDPOINT");
    let memory = switch(given("MEMORY"))?;
    let data = given("DATA");
    let places: Vec<_> = [&endpoint, &memory, &data].into_iter().flatten().collect();
    if let [first, second, ..] = places.as_slice() {
        return Err(format!(
            "{} and {} contradict each other, because users are kept in one place only: unset one \
             of them",
            first.typed(),
            second.typed()
        ));
    }
    Ok(match (endpoint, memory, data) {
        (Some(endpoint), _, _) => Database::Endpoint(endpoint.value.trim().to_owned()),
        (_, Some(_), _) => Database::Memory,
        (_, _, Some(data)) => Database::File(data.value.into()),
        _ => Database::File(PathBuf::from(DEFAULT_DATA)),
    })
}

/// Returns the parameters from `PARAMS` and from those variables that stand for one, and the names
/// of these variables as the user typed them.
fn parameters(given: &impl Fn(&str) -> Option<Given>) -> Result<(Values, Values), String> {
    let text = given("PARAMS").map(|given| given.value).unwrap_or_default();
    let mut parameters = parse_parameters(&text).map_err(|error: Error| error.to_string())?;
    let mut names = BTreeMap::new();
    for (variable, parameter) in [("STAGE", "StageName"), ("CORS", "CorsAllowOrigin")] {
        let Some(given) = given(variable) else {
            continue;
        };
        match parameters.get(parameter) {
            Some(other) if *other != given.value => {
                return Err(format!(
                    "{} and PARAMS='{parameter}={other}' contradict each other: unset one of them",
                    given.typed()
                ));
            }
            _ => {
                names.insert(
                    parameter.to_owned(),
                    given.name.trim_end_matches([' ', '=']).to_owned(),
                );
                parameters.insert(parameter.to_owned(), given.value);
            }
        }
    }
    Ok((parameters, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let given = |name: &str| {
            let (_, value) = variables.iter().find(|(found, _)| *found == name)?;
            Given::new(format!("{name}="), value)
        };
        Settings::new(given, || Some("laptop.example".to_owned()))
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
            dynamodb_port: None,
            parameters: BTreeMap::new(),
            names: BTreeMap::new(),
            debug: false,
            watch: false,
        };
        assert_eq!(settings(&[]), Ok(expected));
        let options = OPTIONS.map(|(name, ..)| name);
        let names = options.into_iter().chain(SWITCHES.map(|(name, _)| name));
        let blank: Vec<_> = names.map(|name| (name, " ")).collect();
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
            (
                vec![endpoint, ("DYNAMODB_PORT", "8000")],
                "DYNAMODB_PORT=8000 has no effect",
            ),
        ] {
            let error = settings(&variables).expect_err(names);
            assert!(error.starts_with(names), "{error}");
        }
    }

    #[test]
    fn an_error_names_what_was_typed() {
        for (name, value) in [
            ("PORT", "x"),
            ("PORT", "65536"),
            ("DYNAMODB_PORT", "x"),
            ("HOST", "elsewhere"),
            ("MEMORY", "perhaps"),
            ("DEBUG", "2"),
        ] {
            let error = settings(&[(name, value)]).expect_err(value);
            assert!(error.starts_with(&format!("{name}={value} ")), "{error}");
        }
        let matches = command().try_get_matches_from(["local", "--port", "x", "--memory"]);
        let matches = matches.expect("these options exist");
        let given = |name: &str| Given::find(&matches, name).filter(|_| name == "PORT");
        let error = Settings::new(given, || None).expect_err("x is not a port");
        assert!(error.starts_with("--port x is not a port"), "{error}");
        assert_eq!(
            Given::find(&matches, "MEMORY"),
            Given::new("--memory ".to_owned(), ON)
        );
    }

    #[test]
    fn the_templates_errors_name_the_variable() {
        let settings = settings(&[("STAGE", "a b")]).expect("only the template knows");
        let explained = |name: &str| {
            let error = Error::ParameterValue {
                name: name.to_owned(),
                value: "a b".to_owned(),
                problem: "it is wrong".to_owned(),
            };
            settings.explain(error).to_string()
        };
        assert_eq!(explained("StageName"), "STAGE cannot be 'a b': it is wrong");
        assert_eq!(explained("Other"), "Other cannot be 'a b': it is wrong");
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
