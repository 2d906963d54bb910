//! `#[message]` and `#[data]`: the derives that a message needs, and `impl Message`.
//!
//! Everything that they write can be written by hand; see `watertight::Message`.

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, Expr, LitStr, Type, parse_macro_input};

/// Makes a struct or enum a message: derives `Serialize`, `Deserialize` and `Schema`, and implements `Message`.
///
/// In the parentheses, all optional:
/// - `reply = T`: what the handler answers; without it, `()`.
/// - `name = "bank.Add"`: its explicit name; without it, the module's path and the type's name.
/// - `idempotent`: it may be handled more than once, so a crash in its handler gives it to the next incarnation.
/// - `recursive`: the type, or its reply, contains itself or something without a `Schema`; the key is then made of the
///   name alone, and reading bounds the nesting.
#[proc_macro_attribute]
pub fn message(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let mut reply: Option<Type> = None;
    let mut name: Option<LitStr> = None;
    let (mut idempotent, mut recursive) = (false, false);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("reply") {
            reply = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("name") {
            name = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("idempotent") {
            idempotent = true;
        } else if meta.path.is_ident("recursive") {
            recursive = true;
        } else {
            return Err(meta.error("expected `reply = T`, `name = \"…\"`, `idempotent` or `recursive`"));
        }
        Ok(())
    });
    parse_macro_input!(attributes with parser);
    let item = parse_macro_input!(item as DeriveInput);
    if !item.generics.params.is_empty() {
        let error =
            syn::Error::new_spanned(&item.generics, "a message has one fixed layout: it cannot be generic");
        return error.to_compile_error().into();
    }
    let ident = &item.ident;
    let reply = reply.map_or_else(|| quote!(()), |t| quote!(#t));
    let name: Expr = match name {
        Some(name) => syn::parse_quote!(#name),
        None => syn::parse_quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#ident))),
    };
    let derives = derives(!recursive);
    let (key, rest) = if recursive {
        (quote!(::watertight::MessageKey::named(Self::NAME)), quote!())
    } else {
        (
            quote!(::watertight::MessageKey::of::<Self, #reply>(Self::NAME)),
            quote! {
                const DESCRIPTORS: bool = ::watertight::internal::owns_descriptors::<Self>();
                const REPLY_DESCRIPTORS: bool = ::watertight::internal::owns_descriptors::<#reply>();
                fn decode(body: &[u8]) -> ::core::result::Result<Self, ::watertight::message::DecodeError> {
                    ::watertight::internal::decode(body)
                }
                fn decode_reply(body: &[u8]) -> ::core::result::Result<#reply, ::watertight::message::DecodeError> {
                    ::watertight::internal::decode(body)
                }
            },
        )
    };
    quote! {
        #derives
        #item

        impl ::watertight::Message for #ident {
            type Reply = #reply;
            const NAME: &'static str = #name;
            const KEY: ::watertight::MessageKey = #key;
            const IDEMPOTENT: bool = #idempotent;
            #rest
        }
    }
    .into()
}

/// Makes a type fit to be part of a message or a reply: derives `Serialize`, `Deserialize` and `Schema`.
///
/// `#[data(recursive)]` leaves out the schema, for types that contain themselves.
#[proc_macro_attribute]
pub fn data(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let mut recursive = false;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("recursive") {
            recursive = true;
            Ok(())
        } else {
            Err(meta.error("expected `recursive`"))
        }
    });
    parse_macro_input!(attributes with parser);
    let item = parse_macro_input!(item as DeriveInput);
    let derives = derives(!recursive);
    quote!(#derives #item).into()
}

fn derives(schema: bool) -> proc_macro2::TokenStream {
    let schema = schema.then(|| {
        quote! {
            #[derive(::watertight::internal::Schema)]
            #[postcard(crate = ::watertight::internal::postcard_schema)]
        }
    });
    quote! {
        #[derive(::watertight::internal::Serialize, ::watertight::internal::Deserialize)]
        #[serde(crate = "::watertight::internal::serde")]
        #schema
    }
}
