//! A strict reader for the HTML we write: every tag closed in order, every attribute quoted, every sign escaped.

const VOID: [&str; 6] = ["meta", "link", "input", "img", "br", "hr"];

/// An opening tag with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The tag without anything a text could change.
    pub fn shape(&self) -> String {
        let names: Vec<&str> = self
            .attributes
            .iter()
            .map(|(n, _)| n.as_str())
            .filter(|n| !["checked", "selected", "aria-current"].contains(n))
            .collect();
        format!("<{} {}>", self.name, names.join(" "))
    }
}

/// All opening tags in order; the reason if the text is not well-formed.
pub fn read(html: &str) -> Result<Vec<Tag>, String> {
    let (mut rest, mut open, mut tags) = (html, Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        text(&rest[..at])?;
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("<!--") {
            rest = &after[after.find("-->").ok_or("comment without end")? + 3..];
        } else if rest.starts_with("<!doctype html>") {
            rest = &rest[15..];
        } else if let Some(after) = rest.strip_prefix("</") {
            let end = after.find('>').ok_or("end tag without end")?;
            let name = &after[..end];
            match open.pop() {
                Some(expected) if expected == name => {}
                other => return Err(format!("</{name}> closes {other:?}")),
            }
            rest = &after[end + 1..];
        } else {
            let (tag, closed, after) = opening(rest)?;
            if !closed && !VOID.contains(&tag.name.as_str()) {
                open.push(tag.name.clone());
            }
            tags.push(tag);
            rest = after;
        }
    }
    text(rest)?;
    if open.is_empty() { Ok(tags) } else { Err(format!("left open: {open:?}")) }
}

fn text(text: &str) -> Result<(), String> {
    if text.contains('>') {
        return Err(format!("bare > in {text:?}"));
    }
    for (at, _) in text.match_indices('&') {
        let end = text[at..].find(';').ok_or(format!("bare & in {text:?}"))?;
        let name = &text[at + 1..at + end];
        let numeric = name.starts_with('#') && name[1..].bytes().all(|b| b.is_ascii_digit());
        if !numeric && !["lt", "gt", "amp", "quot"].contains(&name) {
            return Err(format!("unknown entity &{name};"));
        }
    }
    Ok(())
}

fn opening(from: &str) -> Result<(Tag, bool, &str), String> {
    let name_end = from[1..].find(|c: char| !c.is_ascii_alphanumeric()).ok_or("tag without end")? + 1;
    let name = from[1..name_end].to_owned();
    if name.is_empty() {
        return Err(format!("bare < at {:?}", from.chars().take(30).collect::<String>()));
    }
    let mut tag = Tag { name, attributes: Vec::new() };
    let mut rest = &from[name_end..];
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix("/>") {
            return Ok((tag, true, after));
        }
        if let Some(after) = trimmed.strip_prefix('>') {
            return Ok((tag, false, after));
        }
        if trimmed.len() == rest.len() {
            return Err(format!("no blank before attribute in <{}>", tag.name));
        }
        let end =
            trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || "-:".contains(c))).ok_or("attribute without end")?;
        let name = &trimmed[..end];
        if name.is_empty() || tag.get(name).is_some() {
            return Err(format!("attribute {name:?} twice or empty in <{}>", tag.name));
        }
        rest = &trimmed[end..];
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let quote = after.chars().next().filter(|c| "\"'".contains(*c)).ok_or(format!("unquoted {name}"))?;
            let close = after[1..].find(quote).ok_or(format!("open quote of {name}"))? + 1;
            value = after[1..close].to_owned();
            if value.contains('<') {
                return Err(format!("bare < in {name}={value:?}"));
            }
            rest = &after[close + 1..];
        }
        tag.attributes.push((name.to_owned(), value));
    }
}
