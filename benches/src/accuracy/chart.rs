//! Small charts in one SVG file.

use std::fmt::{self, Write as _};

/// One chart: lines over a common time.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The title above it.
    pub title: String,
    /// The lines, in the order of the [`Chart`]'s names; each has points from left to right.
    pub lines: Vec<Vec<Point>>,
    /// The horizontal axis.
    pub across: Axis,
    /// The vertical axis.
    pub up: Axis,
    /// Whether a line is horizontal from one point to the next, and then jumps.
    pub is_stepped: bool,
}

/// A point, in the units of the axes.
pub type Point = (f64, f64);

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its first value.
    pub from: f64,
    /// Its last value.
    pub to: f64,
    /// Marked values, and their labels.
    pub marks: Vec<(f64, String)>,
}

/// Panels in two columns, with a name for each line.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The title above all panels.
    pub title: String,
    /// The lines' names.
    pub names: Vec<String>,
    /// The panels.
    pub panels: Vec<Panel>,
}

/// Colours that people with colour blindness can distinguish (Okabe and Ito: "Color Universal
/// Design", 2008).
const COLOURS: [&str; 5] = ["#999999", "#d55e00", "#0072b2", "#009e73", "#cc79a7"];

const COLUMNS: usize = 2;
/// The size of a panel's field in pixels, without its margins.
const FIELD: (f64, f64) = (350.0, 120.0);
const CELL: (f64, f64) = (420.0, 190.0);
const LEFT: f64 = 48.0;
const ABOVE: f64 = 28.0;
/// The height of the title and the names above the panels.
const HEAD: f64 = 52.0;

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.panels.len().div_ceil(COLUMNS);
        let (width, height) = (CELL.0 * COLUMNS as f64, HEAD + CELL.1 * rows as f64);
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"13\">{}</text>",
            escaped(&self.title)
        )?;
        let mut x = LEFT;
        for (name, colour) in self.names.iter().zip(COLOURS) {
            writeln!(
                f,
                "<path d=\"M{x} 37h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{}\" y=\"41\">{}</text>",
                x + 23.0,
                escaped(name)
            )?;
            x += 50.0 + 6.5 * name.len() as f64;
        }
        for (n, panel) in self.panels.iter().enumerate() {
            let (column, row) = (n % COLUMNS, n / COLUMNS);
            let x = CELL.0 * column as f64 + LEFT;
            let y = HEAD + CELL.1 * row as f64 + ABOVE;
            writeln!(f, "<g transform=\"translate({x} {y})\">")?;
            panel.draw(f)?;
            writeln!(f, "</g>")?;
        }
        writeln!(f, "</svg>")
    }
}

impl Panel {
    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = FIELD;
        writeln!(f, "<text y=\"-8\" font-weight=\"bold\">{}</text>", escaped(&self.title))?;
        writeln!(f, "<path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"#333\"/>")?;
        for (value, label) in &self.up.marks {
            let y = height * (1.0 - self.up.share(*value));
            writeln!(
                f,
                "<path d=\"M0 {y:.0}H{width}\" stroke=\"#ddd\"/>\
                 <text x=\"-5\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
                y + 4.0,
                escaped(label)
            )?;
        }
        for (value, label) in &self.across.marks {
            let x = width * self.across.share(*value);
            writeln!(
                f,
                "<path d=\"M{x:.0} {height}v4\" stroke=\"#333\"/>\
                 <text x=\"{x:.0}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                height + 16.0,
                escaped(label)
            )?;
        }
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let is_first = colour == COLOURS[0];
            let stroke = if is_first { 4.0 } else { 1.3 };
            writeln!(
                f,
                "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{stroke}\"/>",
                self.path(line)
            )?;
        }
        Ok(())
    }

    /// A line in pixels, without points that do not change its level.
    fn path(&self, line: &[Point]) -> String {
        let mut path = String::new();
        let mut last = (i64::MIN, i64::MIN);
        let pixel = |point: &Point| {
            let x = FIELD.0 * self.across.share(point.0);
            let y = FIELD.1 * (1.0 - self.up.share(point.1));
            #[expect(clippy::cast_possible_truncation, reason = "a position in the field")]
            (x.round() as i64, y.round() as i64)
        };
        for (n, (x, y)) in line.iter().map(pixel).enumerate() {
            let is_end = n + 1 == line.len();
            let written = match (n == 0, self.is_stepped) {
                (true, _) => write!(path, "M{x} {y}"),
                (_, true) if y == last.1 && is_end => write!(path, "H{x}"),
                (_, true) if y == last.1 => continue,
                (_, true) => write!(path, "H{x}V{y}"),
                (_, false) => write!(path, "L{x} {y}"),
            };
            debug_assert!(written.is_ok(), "writing to a string can't fail");
            last = (x, y);
        }
        path
    }
}

impl Axis {
    /// The position of a value: 0 at the start, 1 at the end, clamped to both.
    fn share(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_line_is_horizontal_between_changes() {
        let axis = Axis { from: 0.0, to: 10.0, marks: Vec::new() };
        let panel = Panel {
            title: String::new(),
            lines: Vec::new(),
            across: axis.clone(),
            up: axis,
            is_stepped: true,
        };
        let line = [(0.0, 0.0), (2.0, 0.0), (4.0, 10.0), (6.0, 10.0), (10.0, 10.0)];
        assert_eq!(panel.path(&line), "M0 120H140V0H350");
    }
}
