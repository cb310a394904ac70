//! What the benchmark measures with: function processes, their share of a CPU, a DynamoDB behind TLS, and packages.

mod chart;
pub mod dynamodb;
pub mod functions;
pub mod package;
pub mod process;
pub mod report;
pub mod share;
