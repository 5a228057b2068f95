//! Plots as inline SVG: bars, lines and ranges. Each has a name and a description for those who do not see it, and each
//! mark its figures as a title. Colours are classes of `plot.css`; what must be told apart differs in shape as well.
//! Texts are sized for a plot as wide as a phone.

use maud::{Markup, PreEscaped, html};

use crate::sheet::short;

const WIDTH: f64 = 420.0;
/// Where the bars of a plot begin: the names of all rows fit before it.
const NAMES: f64 = 132.0;
/// Where the axes of lines begin.
const LEFT: f64 = 48.0;
/// The text after the longest bar fits behind it.
const RIGHT: f64 = WIDTH - 52.0;
const ROW: f64 = 30.0;
/// Where lines are at their highest and lowest.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 250.0;
/// Height of a plot of lines.
const LINES: f64 = BOTTOM + 38.0;
/// Room for an axis' numbers.
const FOOT: f64 = 26.0;
/// From this ratio of the largest to the smallest value on, an axis is logarithmic.
const LOG_FROM: f64 = 100.0;
/// The same of spans, which have no length to compare.
const LOG_FROM_OF_SPANS: f64 = 25.0;
/// Between nothing, where an axis that is logarithmic shows it, and the least that has a logarithm.
const NOTHING: f64 = 22.0;
/// Width of a character of a small label, at most.
const CHARACTER: f64 = 6.2;

/// Their colours and lines, and those of the page around them.
pub const STYLE: &str = include_str!("plot.css");

/// What a plot is called, and what it shows in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its name.
    pub title: &'a str,
    /// What it shows, for those who see it as for those who do not.
    pub about: &'a str,
}

/// A row of bars, in parts that follow each other.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// Whose.
    pub name: String,
    /// Class and length of each part.
    pub parts: Vec<(&'static str, f64)>,
    /// Smallest and largest.
    pub range: Option<(f64, f64)>,
    /// No longer than this is wanted.
    pub goal: Option<f64>,
}

/// A row of spans.
#[derive(Clone, Debug)]
pub struct Spans {
    /// Whose.
    pub name: String,
    /// Class, begin and end of each, under each other.
    pub spans: Vec<(&'static str, f64, f64)>,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<Dot>,
    /// Joined by dashes: it is not so, but could be.
    pub dashed: bool,
}

/// A point of lines.
#[derive(Clone, Debug)]
pub struct Dot {
    /// To the right.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// Smallest and largest `y`.
    pub range: Option<(f64, f64)>,
    /// Beside it; may be empty.
    pub label: String,
}

/// What an axis is of.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// Name and unit.
    pub name: &'a str,
    /// Drawn logarithmically also where its values are close together.
    pub log: bool,
    /// A value to hold the others against, and what it is.
    pub mark: Option<(&'a str, f64)>,
}

/// Horizontal bars; on a logarithmic axis if one is much longer than another and none has parts.
#[must_use]
pub fn bars(head: Head<'_>, rows: &[Bar]) -> Markup {
    let length = |bar: &Bar| bar.parts.iter().map(|(_, length)| length).sum::<f64>();
    let lengths: Vec<f64> = rows.iter().map(length).collect();
    let in_parts = rows.iter().any(|bar| bar.parts.len() > 1);
    let reach = rows.iter().flat_map(|bar| bar.range.map(|(_, high)| high).into_iter().chain(bar.goal));
    let values: Vec<f64> = lengths.iter().copied().chain(reach).collect();
    let axis = Axis::over(&values, !in_parts && spread(&lengths) > LOG_FROM, (NAMES, RIGHT));
    let bottom = rows.len() as f64 * ROW + 6.0;
    let row = |(at, bar): (usize, &Bar)| {
        let (top, whole) = (at as f64 * ROW + 6.0, lengths[at]);
        let mut end = 0.0;
        let end_of_text = bar.range.map_or(whole, |(_, high)| high.max(whole)).max(bar.goal.unwrap_or(0.0));
        html! {
            text x=(NAMES - 8.0) y=(top + 16.0) text-anchor="end" { (bar.name) }
            @for (class, length) in &bar.parts {
                @let from = if end == 0.0 { axis.from } else { axis.at(end) };
                @let to = { end += length; axis.at(end) };
                rect class=(class) x=(px(from)) y=(top + 3.0) width=(px((to - from).max(0.5))) height="18" {
                    title { (bar.name) ": " (short(*length)) }
                }
            }
            @if let Some((low, high)) = bar.range {
                (whisker((axis.at(low), top + 12.0), (axis.at(high), top + 12.0)))
            }
            @if let Some(goal) = bar.goal {
                line class="goal" x1=(px(axis.at(goal))) x2=(px(axis.at(goal))) y1=(top - 1.0) y2=(top + 25.0) {
                    title { "wanted: at most " (short(goal)) }
                }
            }
            text class="value" x=(px(axis.at(end_of_text) + 6.0)) y=(top + 16.0) { (short(whole)) }
        }
    };
    let body = html! {
        (axis.upright(bottom))
        @for row in rows.iter().enumerate().map(row) { (row) }
    };
    svg(head, bottom + FOOT, &body)
}

/// Horizontal spans with a dot where each begins and a bar where it ends, and a line to hold them against.
#[must_use]
pub fn spans(head: Head<'_>, rows: &[Spans], mark: (&str, f64)) -> Markup {
    let all = || rows.iter().flat_map(|row| &row.spans);
    let values: Vec<f64> = all().flat_map(|(_, from, to)| [*from, *to]).chain([mark.1]).collect();
    let axis = Axis::over(&values, spread(&values) > LOG_FROM_OF_SPANS, (NAMES, RIGHT + 36.0));
    let (top, bottom) = (16.0, rows.len() as f64 * ROW + 20.0);
    let body = html! {
        (axis.upright(bottom))
        line class="mark" x1=(px(axis.at(mark.1))) x2=(px(axis.at(mark.1))) y1=(top) y2=(bottom) {}
        text class="small" x=(px(axis.at(mark.1))) y="11" text-anchor="middle" { (mark.0) }
        @for (at, row) in rows.iter().enumerate() {
            @let middle = top + at as f64 * ROW + 16.0;
            text x=(NAMES - 8.0) y=(middle + 4.0) text-anchor="end" { (row.name) }
            @for (line, (class, from, to)) in row.spans.iter().enumerate() {
                @let y = px(middle + (line as f64 - (row.spans.len() - 1) as f64 / 2.0) * 10.0);
                g class=(class) {
                    title { (row.name) ": " (short(*from)) " to " (short(*to)) }
                    line class="span" x1=(px(axis.at(*from))) x2=(px(axis.at(*to))) y1=(y) y2=(y) {}
                    path d=(shape(series_of(class), px(axis.at(*from)), y)) {}
                    line class="span" x1=(px(axis.at(*to))) x2=(px(axis.at(*to))) y1=(y - 4.0) y2=(y + 4.0) {}
                }
            }
        }
    };
    svg(head, bottom + FOOT, &body)
}

/// Points joined to lines. An axis is logarithmic where its values are far apart.
#[must_use]
pub fn lines(head: Head<'_>, x: Of<'_>, y: Of<'_>, series: &[Series]) -> Markup {
    html! {
        (svg(head, LINES, &joined(x, y, series)))
        @if series.len() > 1 { (legend(series.iter().enumerate().map(|(at, series)| (class(at), &series.name[..])))) }
    }
}

/// Plots of lines with the same axes and series side by side, as an SVG that stands alone.
#[must_use]
pub fn alone(Head { title, about }: Head<'_>, x: Of<'_>, y: Of<'_>, plots: &[(&str, Vec<Series>)]) -> Markup {
    /// Height above the plots, where their names stand.
    const TITLE: f64 = 34.0;
    /// Width and height of a name of the legend below them.
    const NAME: [f64; 2] = [260.0, 22.0];
    let names: Vec<&str> = plots.iter().take(1).flat_map(|(_, series)| series).map(|of| &of.name[..]).collect();
    let width = WIDTH * plots.len() as f64;
    let columns = (width / NAME[0]) as usize;
    let height = TITLE + LINES + NAME[1] * names.len().div_ceil(columns.max(1)) as f64 + 16.0;
    let moved = |x: f64, y: f64| format!("translate({x},{y})");
    html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) {
            title { (title) }
            desc { (about) }
            style { (PreEscaped(STYLE)) }
            rect style="fill: var(--sheet)" width=(width) height=(height) {}
            @for (at, (name, series)) in plots.iter().enumerate() {
                g transform=(moved(at as f64 * WIDTH, TITLE)) {
                    text class="value" x=(WIDTH / 2.0) y="-14" text-anchor="middle" { (name) }
                    (joined(x, y, series))
                }
            }
            @for (at, name) in names.iter().enumerate() {
                g transform=(moved(
                    LEFT + (at % columns) as f64 * NAME[0],
                    TITLE + LINES + 8.0 + (at / columns) as f64 * NAME[1],
                )) {
                    path class=(class(at)) d=(shape(at, 7.0, 7.0)) {}
                    text x="20" y="11" { (name) }
                }
            }
        }
    }
}

/// The inside of a plot of lines.
fn joined(x: Of<'_>, y: Of<'_>, series: &[Series]) -> Markup {
    let all = || series.iter().flat_map(|series| &series.points);
    let right: Vec<f64> = all().map(|dot| dot.x).chain(x.mark.map(|(_, value)| value)).collect();
    let up: Vec<f64> = all().map(|dot| dot.y).chain(y.mark.map(|(_, value)| value)).collect();
    let highs = all().filter_map(|dot| dot.range).flat_map(|(low, high)| [low, high]);
    let with_ranges: Vec<f64> = up.iter().copied().chain(highs).collect();
    let across = Axis::over(&right, x.log || spread(&right) > LOG_FROM, (LEFT + 8.0, WIDTH - 22.0));
    let upward = Axis::over(&with_ranges, y.log || spread(&up) > LOG_FROM, (BOTTOM, TOP));
    let place = |dot: &Dot| (px(across.at(dot.x)), px(upward.at(dot.y)));
    let labels = label_places(
        &series.iter().flat_map(|of| &of.points).map(|dot| (place(dot), &dot.label[..])).collect::<Vec<_>>(),
    );
    let mut labels = labels.into_iter();
    html! {
        @for tick in &upward.ticks {
            @let y = px(upward.at(*tick));
            line class="grid" x1=(LEFT) x2=(WIDTH - 8.0) y1=(y) y2=(y) {}
            text class="small" x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (plain(*tick)) }
        }
        line class="base" x1=(LEFT) x2=(WIDTH - 8.0) y1=(BOTTOM) y2=(BOTTOM) {}
        @for tick in &across.ticks {
            @let x = px(across.at(*tick));
            line class="base" x1=(x) x2=(x) y1=(BOTTOM) y2=(BOTTOM + 4.0) {}
            text class="small" x=(x) y=(BOTTOM + 17.0) text-anchor="middle" { (plain(*tick)) }
        }
        text class="small" x="2" y="11" { (y.name) }
        text class="small" x=(WIDTH - 8.0) y=(BOTTOM + 32.0) text-anchor="end" { (x.name) }
        @if let Some((name, value)) = y.mark {
            @let at = px(upward.at(value));
            line class="goal" x1=(LEFT) x2=(WIDTH - 8.0) y1=(at) y2=(at) {}
            text class="small" x=(WIDTH - 10.0) y=(at - 5.0) text-anchor="end" { (name) }
        }
        @for (at, Series { name, points, dashed }) in series.iter().enumerate() {
            g class=(class(at)) {
                @if points.len() > 1 {
                    @let path = points.iter().map(place).map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ");
                    polyline.dashed[*dashed] points=(path) {}
                }
                @for dot in points {
                    @let (x, y) = place(dot);
                    @if let Some((low, high)) = dot.range { (whisker((x, upward.at(low)), (x, upward.at(high)))) }
                    path d=(shape(at, x, y)) { title { (name) " " (dot.label) ": " (short(dot.x)) ", " (short(dot.y)) } }
                    @if let Some(Some((x, y))) = labels.next() { text class="small" x=(px(x)) y=(px(y)) { (dot.label) } }
                }
            }
        }
    }
}

/// What the classes mean.
pub fn legend<'a>(of: impl Iterator<Item = (&'static str, &'a str)>) -> Markup {
    html! {
        p.legend {
            @for (class, name) in of {
                span { svg class=(class) width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" {
                    path d=(shape(series_of(class), 7.0, 7.0)) {}
                } (name) }
            }
        }
    }
}

const CLASSES: [&str; 11] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10"];

/// The class of the series of a number.
fn class(series: usize) -> &'static str {
    CLASSES[series % CLASSES.len()]
}

fn series_of(class: &str) -> usize {
    CLASSES.iter().position(|of| *of == class).unwrap_or(2)
}

/// Disc, diamond, square or triangle.
fn shape(series: usize, x: f64, y: f64) -> String {
    match series % 4 {
        0 => format!("M{},{y}a4.5,4.5 0 1 0 9,0a4.5,4.5 0 1 0 -9,0z", px(x - 4.5)),
        1 => format!("M{x},{}l5.5,5.5l-5.5,5.5l-5.5,-5.5z", px(y - 5.5)),
        2 => format!("M{},{}h8v8h-8z", px(x - 4.0), px(y - 4.0)),
        _ => format!("M{x},{}l5.5,9.5h-11z", px(y - 6.0)),
    }
}

fn whisker((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Markup {
    let (across, along) = if y1 == y2 { (0.0, 4.0) } else { (4.0, 0.0) };
    let end = |x: f64, y: f64| format!("M{},{}L{},{}", px(x - across), px(y - along), px(x + across), px(y + along));
    let path = format!("M{},{}L{},{}{}{}", px(x1), px(y1), px(x2), px(y2), end(x1, y1), end(x2, y2));
    html! { path class="whisker" d=(path) {} }
}

fn svg(Head { title, about }: Head<'_>, height: f64, body: &Markup) -> Markup {
    html! {
        h3 { (title) }
        p.about { (about) }
        svg role="img" viewBox=(format!("0 0 {WIDTH} {height}")) {
            title { (title) }
            desc { (about) }
            (body)
        }
    }
}

/// Where labels go, beside their points or, where another is in the way, nowhere: the table has them all.
fn label_places(points: &[((f64, f64), &str)]) -> Vec<Option<(f64, f64)>> {
    let mut taken: Vec<[f64; 4]> = points.iter().map(|((x, y), _)| [x - 5.0, y - 5.0, x + 5.0, y + 5.0]).collect();
    let place = |((x, y), label): &((f64, f64), &str)| {
        let wide = label.chars().count() as f64 * CHARACTER;
        let beside =
            [(x + 8.0, y + 4.0), (x - 8.0 - wide, y + 4.0), (x - wide / 2.0, y - 9.0), (x - wide / 2.0, y + 18.0)];
        let found = beside.into_iter().find(|(left, base)| {
            let [x1, y1, x2, y2] = [*left, base - 10.0, left + wide, base + 2.0];
            let hits = |other: &[f64; 4]| x1 < other[2] && other[0] < x2 && y1 < other[3] && other[1] < y2;
            x1 > LEFT && x2 < WIDTH && y2 < BOTTOM && !taken.iter().any(hits)
        });
        let (left, base) = found.filter(|_| !label.is_empty())?;
        taken.push([left, base - 10.0, left + wide, base + 2.0]);
        Some((left, base))
    };
    points.iter().map(place).collect()
}

/// Values to places.
#[derive(Debug)]
struct Axis {
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    /// Where it begins, and where nothing is.
    from: f64,
    /// Where `low` is: apart from that on a logarithmic axis that has to show nothing.
    foot: f64,
    to: f64,
}

impl Axis {
    /// One that has all values, from 0, or from the next number with one digit; its ticks are such numbers. What has no
    /// logarithm stands apart.
    fn over(values: &[f64], log: bool, (from, to): (f64, f64)) -> Axis {
        let has_nothing = values.contains(&0.0);
        let values = || values.iter().copied().filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        if max <= 0.0 {
            return Axis { log: false, low: 0.0, high: 1.0, ticks: vec![0.0, 1.0], from, foot: from, to };
        }
        if !log {
            let step = steps_from(max / 5.0).next().unwrap_or(max);
            let count = (max / step).ceil();
            let ticks: Vec<f64> = (0..=count as usize).map(|tick| tick as f64 * step).collect();
            return Axis { log, low: 0.0, high: step * count, ticks, from, foot: from, to };
        }
        // The last step that is no more than the least, and all up to the first that is no less than the largest.
        let all: Vec<f64> = steps_from(min / 2.5).collect();
        let first = all.iter().rposition(|step| *step <= min * 1.0001).unwrap_or(0);
        let last = all.iter().position(|step| *step >= max * 0.9999).unwrap_or(all.len() - 1).max(first + 1);
        let ticks = &all[first..=last];
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        let is_decade = |tick: &&f64| (tick.log10() - tick.log10().round()).abs() < 1e-6;
        let decades: Vec<f64> = ticks.iter().filter(is_decade).copied().collect();
        let mut ticks = if ticks.len() > 8 && decades.len() > 1 { decades } else { ticks.to_vec() };
        let mut foot = from;
        if has_nothing {
            ticks.insert(0, 0.0);
            foot += NOTHING * (to - from).signum();
        }
        Axis { log, low, high, ticks, from, foot, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.log {
            true if value < self.low => return self.from,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.foot + share * (self.to - self.foot)
    }

    /// Its grid, down to `bottom`, and its numbers below.
    fn upright(&self, bottom: f64) -> Markup {
        html! {
            @for tick in &self.ticks {
                @let x = px(self.at(*tick));
                line class="grid" x1=(x) x2=(x) y1="2" y2=(bottom) {}
                text class="small" x=(x) y=(bottom + 15.0) text-anchor="middle" { (plain(*tick)) }
            }
        }
    }
}

/// 1, 2 and 5 times powers of ten, from `least` on, over 15 decades.
fn steps_from(least: f64) -> impl Iterator<Item = f64> {
    let power = least.max(1e-9).log10().floor() as i32;
    let steps = (power..power + 15).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    steps.filter(move |step| *step >= least * 0.9999)
}

/// The largest value over the smallest; 0 if that has no logarithm.
fn spread(values: &[f64]) -> f64 {
    let (min, max) =
        values.iter().fold((f64::INFINITY, 0.0_f64), |(min, max), value| (min.min(*value), max.max(*value)));
    if min > 0.0 { max / min } else { 0.0 }
}

/// A tick's number.
fn plain(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded >= 10_000.0 { format!("{}k", rounded / 1_000.0) } else { rounded.to_string() }
}

/// A place, to a tenth.
fn px(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_at_zero_and_ends_at_a_round_number() {
        let axis = Axis::over(&[3.0, 8.7, f64::NAN], false, (100.0, 200.0));
        assert_eq!((axis.low, axis.high, axis.ticks.len()), (0.0, 10.0, 6));
        assert_eq!((axis.at(0.0), axis.at(5.0), axis.at(10.0)), (100.0, 150.0, 200.0));
        assert!(Axis::over(&[], false, (0.0, 1.0)).at(0.0).is_finite(), "of nothing");
        assert!(Axis::over(&[0.0], true, (0.0, 1.0)).at(0.0).is_finite(), "of nothing that has a logarithm");
    }

    #[test]
    fn a_logarithmic_axis_has_steps_or_decades() {
        let near = Axis::over(&[100.0, 5_000.0], true, (0.0, 100.0));
        assert_eq!(near.ticks, [100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]);
        assert!((near.at(100.0)).abs() < 1e-9 && (near.at(5_000.0) - 100.0).abs() < 1e-9);
        let far = Axis::over(&[0.3, 70_000.0], true, (0.0, 100.0));
        assert_eq!(far.ticks, [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert!(far.at(0.3) > 0.0 && far.at(0.0).is_finite());
        let with_nothing = Axis::over(&[0.0, 10.0, 20.0], true, (100.0, 0.0));
        assert_eq!(with_nothing.ticks, [0.0, 10.0, 20.0]);
        assert_eq!([0.0, 10.0, 20.0].map(|value| with_nothing.at(value)), [100.0, 100.0 - NOTHING, 0.0]);
    }

    #[test]
    fn labels_do_not_lie_on_each_other() {
        let places = label_places(&[((100.0, 100.0), "one"), ((104.0, 100.0), "two"), ((200.0, 100.0), "")]);
        let (one, two) = (places[0].expect("there is room"), places[1].expect("there is room"));
        assert!((one.0 - two.0).abs() > 3.0 * CHARACTER || (one.1 - two.1).abs() >= 12.0, "{one:?} {two:?}");
        assert_eq!(places[2], None);
    }
}
