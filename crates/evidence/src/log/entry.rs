//! One log line in JSON, taken apart without building a tree of it, and without copying the texts that stand in it as they are.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a line in JSON says, by the keys of the dialects that are known: the agents' (`level`, `ts`, `caller`, `msg`), Docker's
/// (`log`, `time`) and tracing's (`fields`).
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// `ts`, `time` and `timestamp`, in the order in which they are believed.
    pub(super) times: [Option<Value<'a>>; 3],
    /// `msg`, `message` and `log`, likewise.
    pub(super) messages: [Option<Value<'a>>; 3],
    /// The source file.
    pub(super) caller: Option<Cow<'a, str>>,
    /// The message inside `fields`.
    pub(super) inner_message: Option<Cow<'a, str>>,
    /// Whether there is a level.
    pub(super) has_level: bool,
    /// Every other text, with its key.
    pub(super) others: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A value as far as a log line needs it.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number.
    Number(f64),
    /// An object, with the text that stands under `message` in it.
    Object(Option<Cow<'a, str>>),
    /// Anything else.
    Other,
}

impl<'a> Value<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Object(_) | Self::Other => None,
        }
    }
}

/// Takes a line apart; none if it is no JSON object, or more than one.
pub(super) fn read(text: &str) -> Option<Entry<'_>> {
    serde_json::from_str(text).ok()
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
                let mut entry = Entry::default();
                while let Some(Value::Text(key)) = map.next_key()? {
                    entry.put(key, map.next_value()?);
                }
                Ok(entry)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

impl<'a> Entry<'a> {
    fn put(&mut self, key: Cow<'a, str>, value: Value<'a>) {
        match &*key {
            "ts" => self.times[0] = Some(value),
            "time" => self.times[1] = Some(value),
            "timestamp" => self.times[2] = Some(value),
            "msg" => self.messages[0] = Some(value),
            "message" => self.messages[1] = Some(value),
            "log" => self.messages[2] = Some(value),
            "caller" => self.caller = value.text(),
            "level" => self.has_level = true,
            "stream" => {}
            _ => match value {
                Value::Object(message) if key == "fields" => self.inner_message = message,
                Value::Text(text) => self.others.push((key, text)),
                Value::Object(_) | Value::Number(_) | Value::Other => {}
            },
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970, which are exact, or of no interest")]
    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value<'de>, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut message = None;
        while let Some(Value::Text(key)) = map.next_key()? {
            if key == "message" {
                message = map.next_value::<Value<'de>>()?.text();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(message))
    }
}
