//! Laying out text within a width: wrapping, and colour that only repeats what a sign already says.

use freeboard_diagnosis::Severity;

/// Breaks a text at spaces so that no line, its indent included, is wider than `width`. A word that is wider stands alone.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let room = width.saturating_sub(indent.chars().count()).max(20);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

/// As [`wrap`], with another beginning on the first line.
pub(crate) fn item(first: &str, text: &str, width: usize) -> String {
    let indent = " ".repeat(first.chars().count());
    let wrapped = wrap(text, width, &indent);
    format!("{first}{}", wrapped.get(indent.len()..).unwrap_or_default())
}

/// The sign of a severity, in its colour; the stream drops the colour where it is not wanted.
pub(crate) fn mark(severity: Severity) -> String {
    let colour = match severity {
        Severity::Broken => 31,
        Severity::Wrong => 33,
        Severity::Advice => 36,
    };
    format!("\u{1b}[1;{colour}m{}\u{1b}[0m", severity.mark())
}

/// A number with commas between thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One or many.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_allowed() {
        let text = wrap(&"word ".repeat(100), 80, "    ");
        assert!(text.lines().all(|line| line.chars().count() <= 80 && line.starts_with("    ")));
        let text = item("  why      ", &"word ".repeat(30), 80);
        assert!(text.starts_with("  why      word"));
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
