//! JSON and YAML as one tree, without the bulk that no rule looks at: a dump of ten thousand nodes must fit in memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Keys whose values are large and tell nothing of addresses.
const SKIPPED: [&str; 13] = [
    "managedFields",
    "images",
    "kubectl.kubernetes.io/last-applied-configuration",
    "volumes",
    "volumeMounts",
    "volumesAttached",
    "volumesInUse",
    "tolerations",
    "livenessProbe",
    "readinessProbe",
    "BlockDeviceMappings",
    "instanceGroupUrls",
    "userAgentOriginal",
];
/// Deeper nesting is not a dump of anything.
const DEEPEST: usize = 120;

/// A tree without the bulk.
#[derive(Debug)]
pub(crate) struct Trimmed(pub(crate) Value);

struct Builder;

impl<'de> Deserialize<'de> for Trimmed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder).map(Self)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Trimmed(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<Trimmed>()? {
            let key = if let Value::String(text) = key.0 { text } else { key.0.to_string() };
            if SKIPPED.contains(&key.as_str()) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let Trimmed(value) = entries.next_value()?;
                map.insert(key, value);
            }
        }
        Ok(Value::Object(map))
    }
}

/// What could be read of a text that should be JSON.
#[derive(Debug)]
pub(crate) struct Json {
    /// The values, one after the other.
    pub(crate) values: Vec<Value>,
    /// Where and how it breaks.
    pub(crate) broken: Option<Broken>,
}

/// Where a text breaks.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) line: u64,
    pub(crate) what: String,
}

/// Reads all JSON values of a text. Of a text that breaks off, what is complete is kept.
pub(crate) fn json(bytes: &[u8]) -> Json {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Trimmed>();
    let mut values = Vec::new();
    let mut end = 0;
    loop {
        match stream.next() {
            None => return Json { values, broken: None },
            Some(Ok(Trimmed(value))) => {
                values.push(value);
                end = stream.byte_offset();
            }
            Some(Err(error)) => {
                let line_of_end = memchr::memchr_iter(b'\n', bytes.get(..end).unwrap_or_default()).count();
                let rest = bytes.get(end..).unwrap_or_default();
                let salvaged = salvage(rest);
                // The stream counts lines from the start of the text.
                let line = u64::try_from(error.line().max(line_of_end)).unwrap_or(u64::MAX);
                let kept = if salvaged.is_some() { "; what stands before it was read" } else { "" };
                let broken = Broken {
                    line,
                    what: format!("JSON breaks at line {line}, column {}: {}{kept}", error.column(), short(&error)),
                };
                values.extend(salvaged);
                return Json { values, broken: Some(broken) };
            }
        }
    }
}

fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// Closes what is open after the last complete value of a text that breaks off.
fn salvage(bytes: &[u8]) -> Option<Value> {
    let mut open: Vec<u8> = Vec::new();
    let mut is_text = false;
    let mut is_escaped = false;
    // The end of the last complete element, with what was open there.
    let mut safe: Option<(usize, Vec<u8>)> = None;
    for (index, byte) in bytes.iter().enumerate() {
        if is_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'{' | b'[' => {
                open.push(if *byte == b'{' { b'}' } else { b']' });
                if open.len() > DEEPEST {
                    return None;
                }
            }
            b'}' | b']' => {
                if open.pop() != Some(*byte) {
                    break;
                }
                safe = Some((index + 1, open.clone()));
            }
            b',' => safe = Some((index, open.clone())),
            _ => {}
        }
    }
    let (end, open) = safe?;
    let mut closed = bytes.get(..end)?.to_vec();
    closed.extend(open.iter().rev());
    serde_json::from_slice::<Trimmed>(&closed).ok().map(|Trimmed(value)| value)
}

/// Reads all YAML documents of a text, each with its first line.
pub(crate) fn yaml(text: &str) -> Vec<(u64, Result<Value, String>)> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut first_line = 1;
    let mut line = 1;
    let mut offset = 0;
    for piece in text.split_inclusive('\n') {
        let end = offset + piece.len();
        line += 1;
        if piece.trim_end() == "---" {
            documents.push((first_line, text.get(start..offset).unwrap_or_default()));
            start = end;
            first_line = line;
        }
        offset = end;
    }
    documents.push((first_line, text.get(start..).unwrap_or_default()));
    documents
        .into_iter()
        .filter(|(_, text)| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')))
        .map(|(line, text)| {
            let value = serde_saphyr::from_str::<Trimmed>(text).map(|Trimmed(value)| value);
            (line, value.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned()))
        })
        .collect()
}

/// The text at a path of keys.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// The value at a path of keys.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The number at a path of keys; Google writes long numbers as text.
pub(crate) fn number(value: &Value, path: &[&str]) -> Option<u64> {
    let value = at(value, path)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The elements of the array at a path of keys.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_break_is_kept_and_the_place_is_named() {
        let text = b"{\"Subnets\": [\n {\"SubnetId\": \"subnet-1\"},\n {\"SubnetId\": \"sub";
        let read = json(text);
        assert_eq!(read.values[0]["Subnets"][0]["SubnetId"], "subnet-1");
        let broken = read.broken.unwrap();
        assert_eq!(broken.line, 3);
        assert!(broken.what.contains("line 3"), "{}", broken.what);
    }

    #[test]
    fn a_yaml_bomb_is_refused_and_not_unfolded() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(',')));
        }
        assert!(yaml(&bomb)[0].1.is_err());
    }

    #[test]
    fn yaml_documents_keep_their_first_line() {
        let read = yaml("a: 1\n---\nb: 'x'\n");
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].0, 3);
        assert_eq!(read[1].1.as_ref().unwrap()["b"], "x");
    }
}
