//! AWS's prices in us-east-1, and the price of a million requests.

use std::fmt::Write as _;

/// A price without the free tier.
pub(crate) struct Price {
    what: &'static str,
    usd: f64,
    /// The quantity that the price is for.
    per: &'static str,
    page: &'static str,
}

const API: Price = Price {
    what: "API Gateway, a REST API's requests, the first 333 million a month",
    usd: 3.50,
    per: "million",
    page: "https://aws.amazon.com/api-gateway/pricing/",
};
const REQUEST: Price = Price {
    what: "Lambda, requests",
    usd: 0.20,
    per: "million",
    page: "https://aws.amazon.com/lambda/pricing/",
};
const GB_SECOND: Price = Price {
    what: "Lambda, duration on arm64, a GB being 1,024 MB; on x86_64 $0.0000166667",
    usd: 0.000_013_333_4,
    per: "GB-second",
    page: "https://aws.amazon.com/lambda/pricing/",
};
const READ_UNIT: Price = Price {
    what: "DynamoDB on demand, read units",
    usd: 0.125,
    per: "million",
    page: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
const WRITE_UNIT: Price = Price {
    what: "DynamoDB on demand, write units",
    usd: 0.625,
    per: "million",
    page: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
const LOG: Price = Price {
    what: "CloudWatch Logs, what is written, the first 10 TB a month",
    usd: 0.50,
    per: "GB",
    page: "https://aws.amazon.com/cloudwatch/pricing/",
};
const TRACE: Price = Price {
    what: "X-Ray, traces that are recorded",
    usd: 5.00,
    per: "million",
    page: "https://aws.amazon.com/xray/pricing/",
};
const TRANSFER: Price = Price {
    what: "data to the internet, the first 10 TB a month",
    usd: 0.09,
    per: "GB",
    page: "https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer",
};

/// The log lines that Lambda itself writes for an invocation, with typical values
/// (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>).
const PLATFORM_LINES: [&str; 2] = [
    r#"{"time":"2026-11-25T10:00:00.000Z","type":"platform.start","record":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","version":"12","tracing":{"spanId":"54565fb41ac79632","type":"X-Amzn-Trace-Id","value":"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=0efbd19962d95b05;Sampled=1"}}}"#,
    r#"{"time":"2026-11-25T10:00:00.006Z","type":"platform.report","record":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","metrics":{"durationMs":5.123,"billedDurationMs":6,"memorySizeMB":1024,"maxMemoryUsedMB":20},"tracing":{"spanId":"54565fb41ac79632","type":"X-Amzn-Trace-Id","value":"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=0efbd19962d95b05;Sampled=1"},"status":"success"}}"#,
];

/// A line of the API's access log, in the format of `template.yaml`, with typical values.
const ACCESS_LINE: &str = r#"{"time":"25/Nov/2026:10:00:00 +0000","requestId":"c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "functionRequestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd", "traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","method":"GET", "path":"/users/{id}","status":"200", "latency":"20","functionLatency":"15", "responseLength":"300", "error":"-","sourceIp":"192.0.2.1", "apiKeyId":"-"}"#;

/// The approximate size of the headers that API Gateway sends with a response, in bytes.
const HEADER_BYTES: f64 = 400.0;

/// The requests per second for which the share of traced requests is computed. X-Ray traces the
/// first request of each second, and 5 % of the others
/// (<https://docs.aws.amazon.com/xray/latest/devguide/xray-console-sampling.html>).
const RATE: f64 = 100.0;

/// The parts of a price.
pub(crate) const PARTS: &[&str] = &[
    "API Gateway",
    "Lambda requests",
    "Lambda duration",
    "DynamoDB",
    "logs",
    "X-Ray",
    "data transfer",
];

/// What one request consumes, apart from time.
pub(crate) struct Usage {
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
    /// The size of the function's log line, in bytes.
    pub(crate) line_bytes: f64,
    /// The size of the response's body, in bytes.
    pub(crate) body_bytes: f64,
}

impl Usage {
    /// Returns how many bytes one request adds to all logs together.
    pub(crate) fn log_bytes(&self) -> f64 {
        let others =
            PLATFORM_LINES.iter().map(|line| line.len()).sum::<usize>() + ACCESS_LINE.len();
        self.line_bytes + number(others)
    }

    /// Returns the price of a million requests in dollars, split into [`PARTS`], if Lambda bills
    /// `billed` milliseconds for each at `memory` megabytes.
    pub(crate) fn price_of_a_million(&self, billed: f64, memory: u32) -> Vec<f64> {
        // The bytes of one request, times a million requests, divided by a billion.
        let gigabytes = |bytes: f64| bytes / 1000.0;
        let traced = (1.0 + 0.05 * (RATE - 1.0)) / RATE;
        vec![
            API.usd,
            REQUEST.usd,
            billed * 1000.0 * f64::from(memory) / 1024.0 * GB_SECOND.usd,
            self.read_units * READ_UNIT.usd + self.write_units * WRITE_UNIT.usd,
            gigabytes(self.log_bytes()) * LOG.usd,
            traced * TRACE.usd,
            gigabytes(self.body_bytes + HEADER_BYTES) * TRANSFER.usd,
        ]
    }
}

/// Returns the prices as a Markdown table.
pub(crate) fn table() -> String {
    let mut text = "| what | price | for each |\n| --- | --: | --- |\n".to_owned();
    for Price {
        what,
        usd,
        per,
        page,
    } in [
        API, REQUEST, GB_SECOND, READ_UNIT, WRITE_UNIT, LOG, TRACE, TRANSFER,
    ] {
        // Writing to a `String` cannot fail.
        let usd = if usd < 0.01 {
            usd.to_string()
        } else {
            dollars(usd)
        };
        let _ = writeln!(text, "| [{what}]({page}) | ${usd} | {per} |");
    }
    text
}

/// Formats dollars, with three decimals below 1, two below 100, and none above.
pub(crate) fn dollars(usd: f64) -> String {
    match usd {
        ..0.9995 => format!("{usd:.3}"),
        ..99.995 => format!("{usd:.2}"),
        _ => thousands(usd),
    }
}

/// Formats a number with commas between thousands, and without decimals from 100 up.
pub(crate) fn thousands(number: f64) -> String {
    if number < 100.0 {
        return number.to_string();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Converts a count to a floating-point number.
pub(crate) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
