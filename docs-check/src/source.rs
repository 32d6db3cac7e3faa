//! Reads what the reference needs out of the source: fields with their comments, and the variables that are read.
//!
//! The comments of `Policy` and of the Worker's `Config` are the reference's text, so that there is one text of each.

use anyhow::{Context as _, Result};
use std::path::Path;
use syn::visit::Visit;

/// A field of a struct, and what its comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, as it is written.
    pub kind: String,
    /// Its comment, in one line.
    pub text: String,
}

/// Reads a file of the source.
///
/// # Errors
/// It is not there, or is no Rust.
pub fn file(root: &Path, path: &str) -> Result<syn::File> {
    let text = std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
    syn::parse_file(&text).with_context(|| format!("{path} is no Rust"))
}

/// The public fields of a struct of that file, in order.
///
/// # Errors
/// There is no such struct.
pub fn fields(file: &syn::File, name: &str) -> Result<Vec<Field>> {
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Struct(found) if found.ident == name => Some(found),
        _ => None,
    });
    let found = found.with_context(|| format!("no struct {name}"))?;
    let field = |field: &syn::Field| Field {
        name: field.ident.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: kind(&field.ty),
        text: comment(&field.attrs),
    };
    let is_public = |field: &&syn::Field| matches!(field.vis, syn::Visibility::Public(_));
    Ok(found.fields.iter().filter(is_public).map(field).collect())
}

/// The last name of a type, and of what an `Option` or an array is of.
fn kind(of: &syn::Type) -> String {
    match of {
        syn::Type::Array(array) => format!("{} ×", kind(&array.elem)),
        syn::Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return String::new() };
            match &last.arguments {
                syn::PathArguments::AngleBracketed(inner) => {
                    let inner = inner.args.iter().find_map(|argument| match argument {
                        syn::GenericArgument::Type(of) => Some(kind(of)),
                        _ => None,
                    });
                    inner.unwrap_or_default()
                }
                _ => last.ident.to_string(),
            }
        }
        _ => String::new(),
    }
}

fn comment(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                Some(text.value().trim().to_owned())
            }
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// How a variable is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether its value is never shown.
    pub is_secret: bool,
    /// What stands in for it; `None` where it has to be set.
    pub default: Option<String>,
}

/// The variables that a file reads: calls such as `reader.optional("LOG", "info")` or `reader.secret("OWNER_TOKEN")`.
pub fn variables(file: &syn::File) -> Vec<Variable> {
    let mut calls = Calls::default();
    for item in file.items.iter().filter(|item| !is_test(item)) {
        calls.visit_item(item);
    }
    calls.found.sort();
    calls.found.dedup();
    calls.found
}

fn is_test(item: &syn::Item) -> bool {
    matches!(item, syn::Item::Mod(module) if module.ident == "tests")
}

#[derive(Default)]
struct Calls {
    found: Vec<Variable>,
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let text = |argument: Option<&syn::Expr>| match argument {
            Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) => Some(text.value()),
            _ => None,
        };
        let is_name =
            |name: &String| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let method = call.method.to_string();
        let reads = ["optional", "required", "checked", "url", "secret", "keys"].contains(&method.as_str());
        if let Some(name) = text(call.args.first()).filter(is_name).filter(|_| reads) {
            self.found.push(Variable {
                name,
                is_secret: matches!(method.as_str(), "secret" | "keys"),
                default: text(call.args.get(1)).filter(|_| method == "optional"),
            });
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_variables_are_read_from_the_source() {
        let file: syn::File = syn::parse_str(
            r#"
            struct A {
                /// How long.
                /// In all.
                pub time: Duration,
                pub many: Option<crate::Amount>,
                own: u8,
            }
            fn read() {
                let log = Level::parse(&reader.optional("LOG", "info"));
                (reader.secret("KEY"), reader.url("BASE"), reader.problem("LOG", "is bad"));
            }
            mod tests { fn x() { reader.secret("NO") } }
            "#,
        )
        .unwrap();
        let found = fields(&file, "A").unwrap();
        let shown: Vec<String> =
            found.iter().map(|field| format!("{}: {}, {}", field.name, field.kind, field.text)).collect();
        assert_eq!(shown, ["time: Duration, How long. In all.", "many: Amount, "]);
        let found: Vec<String> = variables(&file)
            .into_iter()
            .map(|one| format!("{} {} {:?}", one.name, one.is_secret, one.default))
            .collect();
        assert_eq!(found, ["BASE false None", "KEY true None", "LOG false Some(\"info\")"]);
    }
}
