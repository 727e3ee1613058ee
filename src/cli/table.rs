//! Tables that fit a terminal: long cells are shortened first, then whole columns are left out.

use std::fmt::Write as _;

use crate::foreign::harmless_lines;

/// Between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Its cells stand at the right, as numbers do.
    pub(super) right: bool,
    /// It can be shortened to this many characters.
    pub(super) least: Option<usize>,
    /// The column with the highest rank is left out first; one with rank 0 never is.
    pub(super) rank: u8,
}

/// The style of a cell where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Title,
    Good,
    Doubtful,
    Bad,
}

impl Style {
    /// The SGR parameters (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "1",
            Self::Good => "32",
            Self::Doubtful => "33",
            Self::Bad => "1;31",
        }
    }
}

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        // A cell is one line, whatever is in it.
        let text: String = text.into();
        let text = harmless_lines(&text).replace(['\n', '\t'], " ");
        Self { text, style }
    }
}

/// The place that a table is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Characters of a line; `None` for any number.
    pub(super) width: Option<usize>,
    pub(super) colours: bool,
}

/// The lines of a table, its titles first. Each row has a cell for each column.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], screen: Screen) -> Vec<String> {
    let longest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| length(&cell.text));
        cells.chain([length(columns[at].title)]).max().unwrap_or(0)
    };
    let natural: Vec<usize> = (0..columns.len()).map(longest).collect();
    let widths = match screen.width {
        Some(width) => fit(columns, &natural, width),
        None => natural.into_iter().map(Some).collect(),
    };
    let titles: Vec<_> =
        columns.iter().map(|column| Cell::new(column.title, Style::Title)).collect();
    [&titles].into_iter().chain(rows).map(|row| line(columns, row, &widths, screen)).collect()
}

/// The widths of the columns; `None` for one that is left out.
fn fit(columns: &[Column], natural: &[usize], width: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    let least = |at: usize, natural: usize| columns[at].least.map_or(natural, |l| l.min(natural));
    let sum = |widths: &[Option<usize>]| {
        let shown = widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
    };
    loop {
        let shortest: Vec<_> = widths
            .iter()
            .enumerate()
            .map(|(at, width)| width.map(|width| least(at, width)))
            .collect();
        if sum(&shortest) <= width {
            break;
        }
        let shown = (0..columns.len()).filter(|at| widths[*at].is_some() && columns[*at].rank > 0);
        match shown.max_by_key(|at| columns[*at].rank) {
            Some(at) => widths[at] = None,
            None => break,
        }
    }
    // The widest of those that can be shortened gives way first.
    while sum(&widths) > width {
        let can = |at: &usize| widths[*at].is_some_and(|width| width > least(*at, natural[*at]));
        let Some(at) = (0..columns.len()).filter(can).max_by_key(|at| widths[*at]) else { break };
        widths[at] = widths[at].map(|width| width - 1);
    }
    widths
}

fn line(columns: &[Column], row: &[Cell], widths: &[Option<usize>], screen: Screen) -> String {
    let mut line = String::new();
    let mut blanks = 0;
    for ((column, cell), width) in columns.iter().zip(row).zip(widths) {
        let Some(width) = *width else { continue };
        let text = shortened(&cell.text, width);
        let room = width - length(&text);
        if column.right {
            blanks += room;
        }
        line.extend(std::iter::repeat_n(' ', blanks));
        match cell.style.code() {
            code if screen.colours && !code.is_empty() && !text.is_empty() => {
                // To a string, which takes everything.
                let _ = write!(line, "\u{1b}[{code}m{text}\u{1b}[0m");
            }
            _ => line.push_str(&text),
        }
        // Blanks at the end of a line are left out.
        blanks = if column.right { GAP } else { room + GAP };
    }
    line
}

fn shortened(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).take(width).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The words of `text` in lines of at most `width` characters, each with `indent` before it. A word
/// that is longer stays whole.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let text = harmless_lines(text);
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && length(&line) + 1 + length(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    let blanks = " ".repeat(indent);
    lines.iter().map(|line| format!("{blanks}{line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "NAME", right: false, least: Some(6), rank: 0 },
        Column { title: "N", right: true, least: None, rank: 0 },
        Column { title: "SINCE", right: false, least: None, rank: 2 },
        Column { title: "WHY", right: false, least: Some(5), rank: 1 },
    ];

    fn table(rows: &[[&str; 4]], width: Option<usize>) -> Vec<String> {
        let cell = |text: &&str| Cell::new(*text, Style::Plain);
        let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        render(&COLUMNS, &rows, Screen { width, colours: false })
    }

    #[test]
    fn long_cells_give_way_before_columns_do() {
        let rows = [["gateway-1", "12", "2026-01-01", "none of them"], ["b", "3", "", "fine"]];
        assert_eq!(
            table(&rows, None),
            [
                "NAME        N  SINCE       WHY",
                "gateway-1  12  2026-01-01  none of them",
                "b           3              fine"
            ]
        );
        assert_eq!(table(&rows, Some(34))[1], "gateway…  12  2026-01-01  none of…");
        assert_eq!(table(&rows, Some(24))[1], "gateway-1  12  none of …");
        assert_eq!(table(&rows, Some(12))[1], "gateway…  12");
    }

    #[test]
    fn only_a_cell_that_has_a_colour_is_coloured() {
        let row = vec![Cell::new("a\u{1b}[2J", Style::Bad), Cell::new("1", Style::Plain)];
        let screen = Screen { width: None, colours: true };
        let lines = render(&COLUMNS[..2], &[row], screen);
        assert_eq!(lines[1], "\u{1b}[1;31ma\u{fffd}[2J\u{1b}[0m  1");
    }

    #[test]
    fn errors_are_wrapped_and_not_cut() {
        assert_eq!(wrapped("one two three four five", 2, Some(22)), "  one two three four\n  five");
        assert_eq!(wrapped("one two three", 2, None), "  one two three");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(
            rows in proptest::collection::vec(proptest::array::uniform4("[a-zäß ]{0,30}"), 0..5),
            width in 40usize..120,
        ) {
            let rows: Vec<[&str; 4]> =
                rows.iter().map(|row| [row[0].as_str(), "7", &row[2], &row[3]]).collect();
            for line in table(&rows, Some(width)) {
                prop_assert!(line.chars().count() <= width, "{line:?}");
            }
        }
    }
}
