//! The chart of a report, as SVG that suits light and dark pages.

use std::fmt::Write as _;
use std::time::Duration;

use crate::report::{Report, Row, shown};

const WIDTH: u32 = 760;
/// Where bars begin.
const LEFT: f64 = 110.0;
/// How long the longest bar is.
const LENGTH: f64 = 500.0;
/// How far apart bars are.
const STEP: u32 = 26;

const HEAD: &str = r"<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.name { text-anchor: end }
.note { fill: #59636e }
.init { fill: #218bff }
.first { fill: #fb8f44 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
}
</style>
";

/// The chart: cold starts with Python's, then without it, so that the others can be told apart.
pub(crate) fn chart(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 24;
    if let (Some(python), Some(get)) = (report.row("python"), report.row("get")) {
        let title = "Cold start at 128 MB: what the first caller waits for";
        bars(&mut body, &mut y, title, &[(get, "this project"), (python, "Python, boto3")]);
        y += 18;
    }
    let ours: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.name != "python")
        .map(|row| (row, &*row.name))
        .collect();
    bars(
        &mut body,
        &mut y,
        "The same on another scale: a function that does nothing, and the six",
        &ours,
    );
    let _ = writeln!(
        body,
        "<rect class=\"init\" x=\"{LEFT}\" y=\"{0}\" width=\"12\" height=\"12\"/>\
         <text class=\"note\" x=\"{1}\" y=\"{2}\">init: from the start of the process until it asks for work</text>\
         <rect class=\"first\" x=\"{3}\" y=\"{0}\" width=\"12\" height=\"12\"/>\
         <text class=\"note\" x=\"{4}\" y=\"{2}\">first invocation</text>",
        y + 2,
        LEFT + 18.0,
        y + 13,
        LEFT + 400.0,
        LEFT + 418.0,
    );
    let height = y + 28;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Cold starts\">\n{HEAD}{body}</svg>\n"
    )
}

/// A title, and a bar for each row under its label.
fn bars(svg: &mut String, y: &mut u32, title: &str, rows: &[(&Row, &str)]) {
    let longest = rows.iter().map(|(row, _)| row.cold()).max().unwrap_or_default();
    let length =
        |time: Duration| LENGTH * time.as_secs_f64() / longest.as_secs_f64().max(f64::EPSILON);
    let _ = writeln!(svg, "<text class=\"title\" x=\"8\" y=\"{y}\">{title}</text>");
    *y += 12;
    for (row, label) in rows {
        let (init, first) = (length(row.init.median()), length(row.first.median()));
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{:.1}\" y=\"{text}\">{label}</text>\
             <rect class=\"init\" x=\"{LEFT}\" y=\"{y}\" width=\"{init:.1}\" height=\"18\"/>\
             <rect class=\"first\" x=\"{:.1}\" y=\"{y}\" width=\"{first:.1}\" height=\"18\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            LEFT - 8.0,
            LEFT + init,
            LEFT + init + first + 8.0,
            shown(row.cold()),
            text = *y + 14,
        );
        *y += STEP;
    }
}
