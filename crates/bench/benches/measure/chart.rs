//! Bar charts, as SVG that suits light and dark pages.

use std::fmt::Write as _;

const STYLE: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.name { text-anchor: end }
.note { fill: #59636e }
.part0 { fill: #218bff } .part1 { fill: #fb8f44 } .part2 { fill: #2da44e } .part3 { fill: #a475f9 }
.part4 { fill: #d4a72c } .part5 { fill: #ff80c8 } .part6 { fill: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .note { fill: #9198a1 } }
</style>
";

/// A group of bars on one scale.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// The names of the parts of each bar.
    pub(crate) parts: &'static [&'static str],
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub(crate) name: String,
    /// The lengths of the parts, in the unit of the panel.
    pub(crate) parts: Vec<f64>,
    /// The text to the right of the bar.
    pub(crate) label: String,
}

/// Draws the panels one below the other. `label` describes the chart to screen readers.
pub(crate) fn chart(label: &str, panels: &[Panel]) -> String {
    const WIDTH: usize = 760;
    const LEFT: usize = 150;
    const LENGTH: f64 = 470.0;
    /// An upper bound on the width of a character.
    const CHARACTER: usize = 8;

    let mut body = String::new();
    let mut y = 0;
    // Writing to a `String` cannot fail.
    for panel in panels {
        let _ = writeln!(
            body,
            r#"<text class="title" x="8" y="{}">{}</text>"#,
            y + 24,
            panel.title
        );
        y += 32;
        let mut x = 8;
        for (number, part) in panel.parts.iter().enumerate() {
            let width = 34 + CHARACTER * part.len();
            if x + width > WIDTH {
                (x, y) = (8, y + 20);
            }
            let _ = writeln!(
                body,
                r#"<rect class="part{number}" x="{x}" y="{y}" width="12" height="12"/>
<text class="note" x="{}" y="{}">{part}</text>"#,
                x + 17,
                y + 11
            );
            x += width;
        }
        y += 22;
        let total = |bar: &Bar| bar.parts.iter().sum::<f64>();
        let longest = panel.bars.iter().map(total).fold(0.0, f64::max);
        for bar in &panel.bars {
            let text_y = y + 14;
            let name = &bar.name;
            let _ = writeln!(
                body,
                r#"<text class="name" x="142" y="{text_y}">{name}</text>"#
            );
            let mut x = f64::from(u32::try_from(LEFT).unwrap_or_default());
            for (number, part) in bar.parts.iter().enumerate() {
                let width = LENGTH * part / longest;
                let _ = writeln!(
                    body,
                    r#"<rect class="part{number}" x="{x:.1}" y="{y}" width="{width:.1}" height="18"/>"#
                );
                x += width;
            }
            let _ = writeln!(
                body,
                r#"<text x="{:.1}" y="{text_y}">{}</text>"#,
                x + 8.0,
                bar.label
            );
            y += 26;
        }
        y += 10;
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" role="img" aria-label="{label}">
{STYLE}{body}</svg>
"#
    )
}
