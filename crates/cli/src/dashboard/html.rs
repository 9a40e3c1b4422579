//! The frame of every page, and texts made safe for it: names come from evidence that nobody vouches for.

use jiff::Timestamp;

/// A text as HTML shows it, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

/// A whole page. One of a living cluster says of when it is, and is kept up to date by a script where there are scripts.
pub(super) fn page(title: &str, body: &str, seen: Option<Timestamp>) -> String {
    let title = escape(title);
    let script = if seen.is_some() { "<script src=\"/live.js\" defer></script>\n" } else { "" };
    let of = seen.map_or_else(String::new, |seen| {
        format!("<p class=\"quiet\">As of {}.</p>\n", seen.strftime("%Y-%m-%d %H:%M:%S UTC"))
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} · Freeboard</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n{script}</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
         <header><nav aria-label=\"Pages\"><a href=\"/\">Ranges</a> <a href=\"/nodes\">Nodes</a></nav></header>\n\
         <main id=\"main\">\n<h1>{title}</h1>\n{of}{body}</main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_evidence_becomes_markup_or_another_path() {
        assert_eq!(escape("<script>\"a\" & 'b'"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;");
        assert_eq!(segment("../a b/ü?x#y"), "..%2Fa%20b%2F%C3%BC%3Fx%23y");
        assert!(!page("<b>", "", None).contains("<b>"));
    }
}
