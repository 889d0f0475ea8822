package main

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// writeJSON writes v as one line of JSON. A string of a field NAME that is not UTF-8 cannot
// be carried by JSON; its bytes follow in base64 as the field NAME_bytes. Of a list of strings
// with such a string, NAME_bytes has the bytes of all. This holds for all fields at any depth,
// so that no command has to think of it.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if allUTF8(reflect.ValueOf(v)) {
		return e.Encode(v)
	}
	return e.Encode(withBytes(reflect.ValueOf(v)))
}

// allUTF8 reports whether every string in v is UTF-8.
func allUTF8(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || allUTF8(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if !allUTF8(v.Field(i)) {
				return false
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return true
		}
		for i := range v.Len() {
			if !allUTF8(v.Index(i)) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !allUTF8(it.Value()) {
				return false
			}
		}
	}
	return true
}

// withBytes returns v in a form that encodes to the same JSON with the fields NAME_bytes
// added.
func withBytes(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return withBytes(v.Elem())
	case reflect.Struct:
		return structWithBytes(v)
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Interface()
		}
		all := make([]any, v.Len())
		for i := range all {
			all[i] = withBytes(v.Index(i))
		}
		return all
	case reflect.Map:
		object := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			add(object, it.Key().String(), it.Value())
		}
		return object
	}
	return v.Interface()
}

func structWithBytes(v reflect.Value) map[string]any {
	object := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for key, value := range structWithBytes(v.Field(i)) {
				object[key] = value
			}
		case name == "-" || !f.IsExported():
		case options == "omitempty" && v.Field(i).IsZero():
		default:
			add(object, name, v.Field(i))
		}
	}
	return object
}

// add adds a field to an object, and its bytes if it needs them.
func add(object map[string]any, name string, v reflect.Value) {
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	object[name] = withBytes(v)
	if allUTF8(v) {
		return
	}
	switch {
	case v.Kind() == reflect.String:
		object[name+"_bytes"] = []byte(v.String())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		all := make([][]byte, v.Len())
		for i := range all {
			all[i] = []byte(v.Index(i).String())
		}
		object[name+"_bytes"] = all
	}
}
