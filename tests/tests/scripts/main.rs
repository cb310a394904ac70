//! The scripts for stages, with stubs of the programs that they call: what they refuse, what they
//! call, and what they say.
//!
//! CI does not run these sequences against an emulator of AWS: moto, for one, knows neither SAM's
//! transform nor rollbacks, nor what CloudFormation retains in one.

mod deploy;
mod role;
mod service;
mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tests::repository;

const PROGRAMS: [&str; 10] = [
    "aws",
    "sam",
    "cargo",
    "cargo-lambda",
    "cargo-auditable",
    "curl",
    "docker",
    "env",
    "git",
    "sleep",
];

/// Answers every stage gives, unless a test answers first: a pattern of a call, and what the shell
/// does then. Other calls succeed and print nothing.
const ANSWERS: &str = r#"
'env '*) exec /usr/bin/env "$@" ;;
'git rev-parse'*) echo 0123456789ab ;;
'sam build'*)
    cargo lambda build
    mkdir -p .aws-sam/build/GetFunction
    echo Resources: > .aws-sam/build/template.yaml
    printf '%018d\267' 0 > .aws-sam/build/GetFunction/bootstrap ;;
'aws apigateway get-account'*) echo arn:aws:iam::1:role/logs ;;
'aws dynamodb describe-table'* | 'aws cloudwatch get-dashboard'*) exit 254 ;;
*'Outputs[?OutputKey=='?ApiUrl*) echo https://api.example/test ;;
'curl '*) answer 400 UserNotFound ;;
'aws lambda get-function-configuration'*) echo 7 0123456789ab ;;
"#;

const NEW_STAGE: &str = r"
*Stacks*StackStatus*) echo 'Stack does not exist' >&2; exit 254 ;;
";

/// A stage that was deployed from the commit of [`ANSWERS`] and moves traffic gradually.
const DEPLOYED_STAGE: &str = r"
*Stacks*StackStatus*) echo UPDATE_COMPLETE ;;
*'Parameters[].['*) printf '%s\t%s\n' Commit 0123456789ab NameSuffix -prod StageName prod \
    Architecture arm64 MemorySize 512 DeploymentPreference Canary10Percent5Minutes \
    AuthType API_KEY AlarmEmail ops@example.com ;;
";

const FIRING_ALARM: &str = r"
*ApiErrorsAlarm*) echo stack-ApiErrorsAlarm-1 ;;
'aws cloudwatch describe-alarms'*) echo stack-ApiErrorsAlarm-1 ;;
";

/// A copy of the scripts with stubs of the programs that they call.
struct Scripts {
    directory: TempDir,
}

/// What a script did.
struct Outcome {
    success: bool,
    /// Its output and its errors.
    text: String,
    /// Its calls of programs, one a line.
    calls: String,
}

impl Scripts {
    /// Copies the scripts. Each call of a program is answered by the first of these patterns that
    /// matches it.
    fn new(answers: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let root = directory.path();
        for name in ["scripts", "bin"] {
            fs::create_dir(root.join(name)).expect("a directory");
        }
        for name in ["template.yaml", "samconfig.toml"] {
            fs::copy(repository::path(name), root.join(name)).expect("a copy");
        }
        for entry in fs::read_dir(repository::path("scripts")).expect("the scripts") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let copy = root.join("scripts").join(path.file_name().expect("a name"));
                fs::copy(&path, copy).expect("a copy");
            }
        }
        // `answer STATUS BODY` does what curl does with a response.
        let stub = format!(
            r#"#!/bin/sh
call="${{0##*/}} $*"
case "$call" in 'env '*) call="env $1" ;; esac
printf '%s\n' "$call WIPE=${{WIPE:-}}" >> '{calls}'
case "$call" in
'curl --config '*) request=${{call#curl --config }}; cat "${{request%% *}}" 2>/dev/null >> '{calls}' ;;
esac
answer() {{
    while [ $# -gt 2 ]; do shift; done
    case "$call" in *--output*) body=${{call#*--output }}; printf '%s' "$2" > "${{body%% *}}" ;; esac
    printf '%s' "$1"
}}
case "$call" in
{answers}
{ANSWERS}
esac
"#,
            calls = root.join("calls").display()
        );
        for program in PROGRAMS {
            write_executable(&root.join("bin").join(program), &stub);
        }
        fs::write(root.join("calls"), "").expect("a file");
        Self { directory }
    }

    /// Runs a script with these arguments, variables and input.
    fn run(&self, command: &str, variables: &[(&str, &str)], input: &str) -> Outcome {
        let root = self.directory.path();
        fs::write(root.join("calls"), "").expect("a file");
        fs::write(root.join("input"), input).expect("a file");
        let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
        let output = Command::new("/bin/sh")
            .args(["-c", &format!("exec 2>&1; scripts/{command}")])
            .current_dir(root)
            .env_clear()
            .env("PATH", path)
            .envs(variables.iter().copied())
            .stdin(fs::File::open(root.join("input")).expect("the input"))
            .stderr(Stdio::inherit())
            .output()
            .expect("a shell");
        Outcome {
            success: output.status.success(),
            text: String::from_utf8(output.stdout).expect("text"),
            calls: fs::read_to_string(root.join("calls")).expect("the calls"),
        }
    }

    fn deploy(&self, stage: &str, params: &str) -> Outcome {
        self.run("deploy.sh", &[("STAGE", stage), ("PARAMS", params)], "")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).expect("a file")
    }

    fn exists(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }
}

impl Outcome {
    /// Asserts that the script succeeded and said this.
    #[track_caller]
    fn assert_done(&self, text: &str) -> &Self {
        assert!(self.success, "it failed: {}\n{}", self.text, self.calls);
        assert!(self.text.contains(text), "no '{text}' in: {}", self.text);
        self
    }

    /// Asserts that the script failed and said this.
    #[track_caller]
    fn assert_refused(&self, text: &str) -> &Self {
        assert!(!self.success, "it succeeded: {}", self.text);
        assert!(self.text.contains(text), "no '{text}' in: {}", self.text);
        self
    }

    /// Asserts how many calls contain a text.
    #[track_caller]
    fn assert_calls(&self, text: &str, count: usize) -> &Self {
        let found = self.calls.lines().filter(|call| call.contains(text));
        assert_eq!(found.count(), count, "'{text}' in: {}", self.calls);
        self
    }
}

fn write_executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

fn existing(answers: &str) -> Scripts {
    Scripts::new(&format!("{answers}{DEPLOYED_STAGE}"))
}
