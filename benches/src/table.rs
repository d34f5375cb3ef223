//! Tables for people.

/// How tables are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// In columns, for a terminal.
    #[default]
    Plain,
    /// For a document.
    Markdown,
}

/// Prints rows; the first is a heading, and all columns but the first are numbers.
pub fn print(rows: &[Vec<String>], style: Style) {
    match style {
        Style::Plain => plain(rows),
        Style::Markdown => markdown(rows),
    }
}

fn markdown(rows: &[Vec<String>]) {
    for (number, row) in rows.iter().enumerate() {
        println!("| {} |", row.join(" | "));
        if number == 0 {
            println!("|---{}|", "|---:".repeat(row.len() - 1));
        }
    }
}

fn plain(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("   {cell:>width$}"));
            }
        }
        println!("{line}");
    }
}
