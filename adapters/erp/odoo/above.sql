  -- and each kit that it is a part of
  union
  select p.id
    from up
    join mrp_bom_line l on l.product_id = up.product
    join mrp_bom b on b.id = l.bom_id and b.type = 'phantom'
    join product_product p on p.id = b.product_id or b.product_id is null and p.product_tmpl_id = b.product_tmpl_id
)
select product from up
