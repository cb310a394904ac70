//! The chart of cold starts, as SVG that suits light and dark pages.

use std::fmt::Write as _;
use std::time::Duration;

use crate::report::{Row, time};

const HEAD: &str = r#" role="img" aria-label="Cold starts">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.name { text-anchor: end }
.note { fill: #59636e }
.init { fill: #218bff }
.first { fill: #fb8f44 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .note { fill: #9198a1 } }
</style>
<rect class="init" x="110" y="6" width="12" height="12"/>
<text class="note" x="128" y="17">init: until the process asks for its first invocation</text>
<rect class="first" x="470" y="6" width="12" height="12"/>
<text class="note" x="488" y="17">first invocation</text>
"#;

/// Returns the chart of the executables. Python would make their bars too short to be seen.
pub(crate) fn chart(rows: &[Row]) -> String {
    const LEFT: f64 = 110.0;
    const LENGTH: f64 = 500.0;
    let bars: Vec<_> = rows.iter().filter(|row| row.zip.is_some()).collect();
    let longest = bars.iter().map(|bar| bar.cold()).max().unwrap_or_default();
    let length = |time: Duration| LENGTH * time.as_secs_f64() / longest.as_secs_f64();
    let height = 34 + 26 * bars.len();
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 {height}" width="690""#
    ) + HEAD;
    for (number, bar) in bars.iter().enumerate() {
        let (y, text_y) = (30 + 26 * number, 44 + 26 * number);
        let (init, first) = (length(bar.init), length(bar.first));
        // A string takes everything.
        let _ = writeln!(
            svg,
            r#"<text class="name" x="102" y="{text_y}">{}</text>
<rect class="init" x="{LEFT}" y="{y}" width="{init:.1}" height="18"/>
<rect class="first" x="{:.1}" y="{y}" width="{first:.1}" height="18"/>
<text x="{:.1}" y="{text_y}">{}</text>"#,
            bar.name,
            LEFT + init,
            LEFT + init + first + 8.0,
            time(bar.cold()),
        );
    }
    svg + "</svg>\n"
}
