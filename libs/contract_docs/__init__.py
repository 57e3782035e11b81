"""The published contract, made from libs.contract: JSON Schema, AsyncAPI, TypeScript."""
