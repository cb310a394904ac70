//! Tables, charts and figures in Markdown.

use std::time::Duration;

/// Returns a table. The first column is text, and the others are numbers.
pub(crate) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head = columns.iter().map(ToString::to_string).collect();
    let rule = (0..columns.len())
        .map(|column| if column == 0 { "---" } else { "--:" })
        .map(str::to_owned)
        .collect();
    [head, rule]
        .into_iter()
        .chain(rows)
        .map(|cells: Vec<_>| format!("| {} |\n", cells.join(" | ")))
        .collect::<Vec<_>>()
        .concat()
}

/// Returns a bar chart in milliseconds, in Mermaid's notation, which GitHub draws.
pub(crate) fn chart(title: &str, bars: &[(String, Duration)]) -> String {
    let names: Vec<_> = bars.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let lengths = bars.iter().map(|(_, time)| milliseconds(*time));
    let longest = lengths.clone().fold(0.0, f64::max).ceil();
    let lengths: Vec<_> = lengths.map(|length| format!("{length:.2}")).collect();
    // Mermaid's own colour is hardly visible on white, and its axis does not start at 0.
    format!(
        "```mermaid\n\
         %%{{init: {{\"themeVariables\": {{\"xyChart\": \
         {{\"plotColorPalette\": \"#218bff\"}}}}}}}}%%\n\
         xychart-beta\n    \
             title \"{title}\"\n    \
             x-axis [{}]\n    \
             y-axis \"milliseconds\" 0 --> {longest}\n    \
             bar [{}]\n\
         ```\n",
        names.join(", "),
        lengths.join(", ")
    )
}

/// Formats a time in milliseconds or seconds.
pub(crate) fn time(time: Duration) -> String {
    match milliseconds(time) {
        time @ ..9.95 => format!("{time:.2} ms"),
        time @ ..999.5 => format!("{time:.0} ms"),
        time => format!("{:.1} s", time / 1000.0),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Formats a size in megabytes, which are a million bytes each.
pub(crate) fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only two decimals are shown")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.2} MB")
}
