"""Stands in for setuptools while pip downloads a source archive: pip wants an archive's name and
version, which are in PKG-INFO, and would run its setup.py for them. That we never want: those of the
clients have Java archives to fetch."""
import email
import os
import shutil


class Backend:
    def get_requires_for_build_wheel(self, settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, directory, settings=None):
        with open("PKG-INFO", encoding="utf-8") as file:
            head = email.message_from_file(file)
        name = "{}-{}.dist-info".format(head["Name"].replace("-", "_"), head["Version"])
        os.makedirs(os.path.join(directory, name), exist_ok=True)
        shutil.copy("PKG-INFO", os.path.join(directory, name, "METADATA"))
        return name


__legacy__ = Backend()
