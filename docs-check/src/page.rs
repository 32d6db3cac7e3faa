//! A Markdown page as the rules see it: its blocks of text, links, headings and code.
//!
//! Parsing is pulldown-cmark's. Inline code counts as one word: a reader takes it in as one thing.

use anyhow::{Context as _, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    /// From the repository's root, with slashes.
    pub path: String,
    /// Paragraphs, list items and cells of tables, in order.
    pub blocks: Vec<Block>,
    /// Where its links lead, images included.
    pub links: Vec<String>,
    /// What a link can name after `#`.
    pub anchors: Vec<String>,
    /// Code within lines.
    pub inline_code: Vec<String>,
    /// Code in blocks of its own.
    pub code_blocks: Vec<String>,
    /// All words outside code blocks.
    pub words: usize,
}

/// A block of text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its text, each piece of code as [`CODE`].
    pub text: String,
}

/// What a block is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Sentences.
    #[default]
    Paragraph,
    /// A heading, or the head of a table.
    Heading,
    /// A cell of a table.
    Cell,
}

/// Stands for a piece of code.
pub const CODE: &str = "‹code›";

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(root: &Path, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        Ok(Self::parse(&relative, &text))
    }

    /// Takes a page apart.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut page = Self { path: path.to_owned(), ..Self::default() };
        let mut reader = Reader::default();
        for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
            reader.take(event, &mut page);
        }
        reader.finish_block(&mut page);
        page.words = page.blocks.iter().map(|block| words(&block.text)).sum();
        page
    }

    /// The page's directory, from the root.
    pub fn directory(&self) -> PathBuf {
        Path::new(&self.path).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Everything that may name something: text and all code.
    pub fn everything(&self) -> impl Iterator<Item = &str> {
        let text = self.blocks.iter().map(|block| block.text.as_str());
        text.chain(self.inline_code.iter().map(String::as_str))
            .chain(self.code_blocks.iter().map(String::as_str))
    }
}

/// How many words a text has.
pub fn words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count()
}

#[derive(Default)]
struct Reader {
    block: Block,
    is_code: bool,
    times: BTreeMap<String, usize>,
    heading: String,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, page: &mut Page) {
        match event {
            Event::Start(tag) => self.start(tag, page),
            Event::End(tag) => self.end(tag, page),
            Event::Text(text) if self.is_code => {
                if let Some(code) = page.code_blocks.last_mut() {
                    code.push_str(&text);
                }
            }
            Event::Text(text) => {
                self.block.text.push_str(&text);
                self.heading.push_str(&text);
            }
            Event::Code(code) => {
                self.block.text.push_str(CODE);
                self.heading.push_str(&code);
                page.inline_code.push(code.into_string());
            }
            Event::SoftBreak | Event::HardBreak => self.block.text.push(' '),
            Event::Html(_)
            | Event::InlineHtml(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::Rule
            | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>, page: &mut Page) {
        match tag {
            Tag::Paragraph | Tag::Item => self.begin(BlockKind::Paragraph, page),
            Tag::Heading { .. } => {
                self.begin(BlockKind::Heading, page);
                self.heading.clear();
            }
            Tag::TableHead => self.begin(BlockKind::Heading, page),
            Tag::TableCell if self.block.kind != BlockKind::Heading => self.begin(BlockKind::Cell, page),
            Tag::TableCell => self.block.text.push(' '),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.finish_block(page);
                self.is_code = true;
                page.code_blocks.push(String::new());
            }
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                page.links.push(dest_url.into_string());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, page: &mut Page) {
        match tag {
            TagEnd::Heading(_) => {
                let anchor = self.anchor();
                page.anchors.push(anchor);
                self.finish_block(page);
            }
            TagEnd::CodeBlock => self.is_code = false,
            TagEnd::TableHead => self.finish_block(page),
            TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell if self.block.kind != BlockKind::Heading => {
                self.finish_block(page);
            }
            _ => {}
        }
    }

    fn begin(&mut self, kind: BlockKind, page: &mut Page) {
        self.finish_block(page);
        self.block.kind = kind;
    }

    fn finish_block(&mut self, page: &mut Page) {
        let block = std::mem::take(&mut self.block);
        if !block.text.trim().is_empty() {
            page.blocks.push(block);
        }
    }

    /// The name that forges give a heading: lower case, dashes for spaces, a number where it is there already.
    fn anchor(&mut self) -> String {
        let kept = self.heading.trim().to_lowercase();
        let name: String = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let times = self.times.entry(name.clone()).or_default();
        *times += 1;
        if *times == 1 { name } else { format!("{name}-{}", *times - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let text = "# Two `words`\n\nOne [link](a.md#b) and `POST /x`.\n\n- first\n- second\n\n\
                    | head | two |\n|---|---|\n| cell | `c` |\n\n```sh\nscripts/dev\n```\n\n# Two words\n";
        let page = Page::parse("docs/x.md", text);
        let texts: Vec<&str> = page.blocks.iter().map(|block| block.text.trim()).collect();
        assert_eq!(
            texts,
            [
                "Two ‹code›",
                "One link and ‹code›.",
                "first",
                "second",
                "head two",
                "cell",
                "‹code›",
                "Two words"
            ]
        );
        assert_eq!(page.links, ["a.md#b"]);
        assert_eq!(page.anchors, ["two-words", "two-words-1"]);
        assert_eq!(page.inline_code, ["words", "POST /x", "c"]);
        assert_eq!(page.code_blocks, ["scripts/dev\n"]);
        assert_eq!(page.words, 14);
    }
}
