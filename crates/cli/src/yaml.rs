//! Objects as gcloud prints them in YAML: keys in order, two spaces a level, texts that look like numbers in single quotes.

use serde_json::{Map, Value};

/// These fields of an object; all of it when no name is given. A missing field is null.
pub(crate) fn select(object: &Value, fields: &[&str]) -> Value {
    if fields.is_empty() {
        return object.clone();
    }
    let field = |name: &&str| ((*name).to_owned(), object.get(*name).cloned().unwrap_or(Value::Null));
    Value::Object(fields.iter().map(field).collect::<Map<String, Value>>())
}

/// The text of a value; keys are sorted at each level, as gcloud has them.
pub(crate) fn show(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) => mapping(&mut text, fields, 0),
        Value::Array(items) => sequence(&mut text, items, 0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
    text
}

fn mapping(text: &mut String, fields: &Map<String, Value>, indent: usize) {
    // The order of a map is that of its keys, unless a library in the tree turns on serde_json's insertion order.
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        // The first key of a list's item stands behind the hyphen.
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(key);
        text.push(':');
        nested(text, value, indent);
    }
}

fn nested(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            mapping(text, fields, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            sequence(text, items, indent);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Array(_) => {
            text.push(' ');
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
}

fn sequence(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => mapping(text, fields, indent + 2),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Array(_) => {
                text.push_str(&scalar(item));
                text.push('\n');
            }
        }
    }
}

/// A value on one line; texts are quoted where YAML would read something else.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let reads_as_other = is_number(text)
        || matches!(text.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "~" | "")
        || is_date(text);
    let has_syntax = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c))
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with([':', ' '])
        || text.chars().any(char::is_control);
    if text.chars().any(char::is_control) {
        return value.to_string();
    }
    if reads_as_other || has_syntax { format!("'{}'", text.replace('\'', "''")) } else { text.clone() }
}

/// Whether YAML, 1.1 or 1.2, reads a number: with underscores, in another base, or in sixties (`1:30`).
fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "").to_lowercase();
    let unsigned = plain.trim_start_matches(['+', '-']);
    let has_base = ["0x", "0o", "0b"].iter().any(|base| unsigned.starts_with(base));
    let is_in_sixties =
        unsigned.starts_with(|c: char| c.is_ascii_digit()) && unsigned.chars().all(|c| c.is_ascii_digit() || c == ':');
    has_base || is_in_sixties || unsigned.trim_start_matches('.').parse::<f64>().is_ok() || plain.parse::<f64>().is_ok()
}

fn is_date(text: &str) -> bool {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    year.is_some_and(|year| digits(year, 4))
        && month.is_some_and(|month| digits(month, 2))
        && day.is_some_and(|day| day.get(..2).is_some_and(|day| digits(day, 2)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{select, show};

    #[test]
    fn objects_look_as_gcloud_prints_them() {
        let subnet = json!({
            "secondaryIpRanges": [
                {"rangeName": "pod-range", "ipCidrRange": "10.0.0.0/26"},
                {"rangeName": "svc-range", "ipCidrRange": "172.16.0.0/20"},
            ],
            "ipCidrRange": "10.1.0.0/16",
            "id": "4023",
            "logConfig": {"enable": false},
            "empty": [],
        });
        let expected = "\
empty: []
id: '4023'
ipCidrRange: 10.1.0.0/16
logConfig:
  enable: false
secondaryIpRanges:
- ipCidrRange: 10.0.0.0/26
  rangeName: pod-range
- ipCidrRange: 172.16.0.0/20
  rangeName: svc-range
";
        assert_eq!(show(&subnet), expected);
        assert_eq!(show(&select(&subnet, &["ipCidrRange", "nothing"])), "ipCidrRange: 10.1.0.0/16\nnothing: null\n");
    }

    #[test]
    fn what_is_shown_reads_back_as_it_was() {
        let odd = json!({
            "numbers": ["16", "1e3", "-1", "0x10", "0o7", "1_000", "1:30", ".5", "+.inf", ".nan", "10.0.0.0/26", "10.0.0.1"], "words": ["true", "No", "~", "", "a: b", "# c", "it's", "- d", "two\nlines"],
            "date": "2023-11-03", "time": "2023-11-03T07:07:42Z", "nested": [{"a": {"b": [1.5, null]}}], "colon": "x:",
        });
        let back: serde_json::Value = serde_saphyr::from_str(&show(&odd)).unwrap();
        assert_eq!(back, odd);
    }
}
