################################################################################
#
# rackberry
#
################################################################################

RACKBERRY_VERSION = 0.1.0
# A folder with the program, and in share/ what it serves.
RACKBERRY_SITE = $(RACKBERRY_PREBUILT)
RACKBERRY_SITE_METHOD = local
RACKBERRY_LICENSE = MIT or Apache-2.0

ifeq ($(BR2_PACKAGE_RACKBERRY)$(BR_BUILDING),yy)
ifeq ($(RACKBERRY_PREBUILT),)
$(error RACKBERRY_PREBUILT names no folder with the built program: start the build by ./x image --buildroot)
endif
endif

define RACKBERRY_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/rackberry $(TARGET_DIR)/usr/bin/rackberry
	mkdir -p $(TARGET_DIR)/usr/share/rackberry
	cp -r $(@D)/share/. $(TARGET_DIR)/usr/share/rackberry/
endef

$(eval $(generic-package))
